"""Runs that belong together: those that differ in seed only, under a label that tells them apart."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cohobate.analysis.runs import Run, shown
from cohobate.tables import unnumbered

BASELINE = "supervised"
IMAGES = "data.images"
"""Not a setting: a fingerprint that stands among them where equal settings read other images."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in seed only."""

    label: str
    settings: dict[str, Any]
    runs: list[Run]

    @property
    def data(self) -> str:
        return self.settings["data.name"]

    @property
    def is_baseline(self) -> bool:
        return methods(self.settings) == BASELINE and not self.settings.get("mix.name")

    @property
    def terms(self) -> dict[str, Any]:
        """What two groups must share for their difference to mean anything: images and network."""
        recipe = ("data.batch_size", "data.augment")
        return {
            key: value
            for key, value in self.settings.items()
            if key == "model.arch" or (key.startswith("data.") and key not in (*recipe, IMAGES))
        }

    @property
    def tested(self) -> set[str]:
        """Fingerprints of the images that its runs were scored on; of the runs that tell of them."""
        return {run.images["test"] for run in self.runs if "test" in run.images}

    def mean(self, of: Callable[[Run], float]) -> float:
        return fmean(map(of, self.runs))


def group(runs: Iterable[Run]) -> list[Group]:
    """Runs with equal settings, on equal images, together; a label holds the method and only what sets it apart from its like.

    Raises ValueError where two of them are of the same seed too.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(json.dumps(run.settings, sort_keys=True, default=str), []).append(run)
    found = [part for together in alike.values() for part in _by_images(together)]
    every = [settings for settings, _ in found]
    for _, together in found:
        seeds: dict[int, Run] = {}
        for run in together:
            if (twin := seeds.setdefault(run.seed, run)) is not run:
                raise ValueError(f"{twin.path} and {run.path} are {_twins(twin, run)}")
    return [Group(label(own, every), own, together) for own, together in found]


def _twins(one: Run, other: Run) -> str:
    """What is wrong with two runs of one seed in a group."""
    if one.trained_like(other):
        return "the same run twice: give one of them"
    return (
        "runs of one seed and of the same settings on other training images, which the settings do not"
        " tell: give one of them"
    )


def _by_images(runs: list[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Runs of equal settings, apart where they are known to have read other images."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(_images(run), []).append(run)
    known = [part for part in parts if part]
    if len(known) < 2:
        return [(runs[0].settings, runs)]
    return [(runs[0].settings | {IMAGES: part or None}, some) for part, some in parts.items()]


def _images(run: Run) -> str:
    """A fingerprint of the images that all seeds of a run share; "" where none was written."""
    own = run.images
    shared = ["test"] if run.settings.get("data.seed") is None else ["train", "test"]
    return "-".join(own[name][:8] for name in shared if name in own)


def methods(settings: dict[str, Any]) -> str:
    """The method of a run, after those of its stages: `supervised → kd`."""
    stages = [value for key, value in settings.items() if unnumbered(key) == "method.name" != key]
    return " → ".join([*stages, settings["method.name"]])


def label(settings: dict[str, Any], every: list[dict[str, Any]]) -> str:
    name = methods(settings)
    alike = [other for other in every if methods(other) == name]
    apart = [
        f"{key.removeprefix('method.')}={shown(value)}"
        for key, value in settings.items()
        if any(other.get(key) != value for other in alike if takes(other, key))
    ]
    return " ".join([name, *apart])


def takes(settings: dict[str, Any], key: str) -> bool:
    """Whether a setting is one of a run: options of a mixing are of those alone that mix."""
    return not key.startswith("mix.") or key == "mix.name" or "mix.name" in settings


def baseline_of(own: Group, groups: list[Group]) -> Group | None:
    """The baseline on the same images and network, the one nearest in its other settings."""
    choices = [
        other
        for other in groups
        if other.is_baseline and other.terms == own.terms and len(own.tested | other.tested) < 2
    ]
    if own.is_baseline or not choices:
        return None
    return min(
        choices,
        key=lambda other: (_elsewhere(own, other), len(differing([own.settings, other.settings]))),
    )


def _elsewhere(one: Group, other: Group) -> int:
    """How many seeds are known to have learnt from other images in one group than in the other."""
    theirs = {run.seed: run for run in other.runs}
    pairs = [(run, theirs[run.seed]) for run in one.runs if run.seed in theirs]
    return sum(not run.trained_like(twin) for run, twin in pairs)


def data_sets(groups: list[Group]) -> list[str]:
    """The names of the data that the groups are of, in the order of their first appearance."""
    return list(dict.fromkeys(group.data for group in groups))


def differing(tables: list[dict[str, Any]]) -> list[str]:
    """The names under which not all tables hold the same, in the order of their first appearance."""
    names = dict.fromkeys(name for table in tables for name in table)
    return [name for name in names if any(t.get(name) != tables[0].get(name) for t in tables)]
