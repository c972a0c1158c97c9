"""What runs say together: those that differ in seed only are one row, and nothing is mixed silently."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from cohobate.analysis.runs import Run, shown
from cohobate.tables import unnumbered

BASELINE = "supervised"
MACHINE = ("cohobate", "torch", "torchvision", "timm", "processor", "devices", "threads", "precision", "compile")  # fmt: skip
"""What of the environment can change a result or its speed."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in seed only, under a label that tells them from other groups."""

    label: str
    runs: list[Run]

    @property
    def settings(self) -> dict[str, Any]:
        return self.runs[0].settings

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
            if key == "model.arch" or (key.startswith("data.") and key not in recipe)
        }

    def mean(self, of: Callable[[Run], float]) -> float:
        return fmean(map(of, self.runs))


@dataclass(frozen=True)
class Row:
    """A line of the comparison, in raw numbers: accuracies are shares; None where nothing was measured."""

    label: str
    seeds: int
    top1: float
    top1_sd: float | None
    baseline: str | None
    difference: float | None
    best_val: float | None
    last_val: float | None
    parameters: int
    trained_parameters: int
    cost: float | None
    images_per_second: float
    minutes: float


@dataclass(frozen=True)
class Comparison:
    """Groups of finished runs and their rows, by data set, baseline first, then the best; and what to be wary of."""

    groups: list[Group]
    rows: list[Row]
    warnings: list[str]

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def findings(self) -> list[str]:
        """What the rows say against their baseline, in words no stronger than the numbers."""
        spread = {row.label: row.top1_sd for row in self.rows}
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if row.baseline:
                said = verdict(row, spread[row.baseline])
                found.setdefault(said, []).append(f"{row.label} ({percent(row.difference, '+')})")
        return [f"{said}: {', '.join(those)}" for said, those in found.items()]


def compare(paths: Iterable[str | Path]) -> Comparison:
    """Reads run folders and sets their finished runs side by side."""
    runs = [Run.read(path) for path in dict.fromkeys(map(Path, paths))]
    finished = [run for run in runs if run.finished]
    unfinished = [
        f"{run.path}: {len(run.rows)} of {run.epochs} epochs; `cohobate train` it again to finish"
        for run in runs
        if not run.finished
    ]
    if not finished:
        raise ValueError("; ".join(["no finished run to compare", *unfinished]))
    groups = group(finished)
    pairs = [(each, row(each, baseline_of(each, groups))) for each in groups]
    sets = data_sets(groups)
    pairs.sort(key=lambda p: (sets.index(p[0].data), not p[0].is_baseline, -p[1].top1))
    groups, rows = map(list, zip(*pairs))
    return Comparison(groups, rows, unfinished + warnings(groups))


def data_sets(groups: list[Group]) -> list[str]:
    """The names of the data that the groups are of, in the order of their first appearance."""
    return list(dict.fromkeys(group.data for group in groups))


def group(runs: Iterable[Run]) -> list[Group]:
    """Runs with equal settings together; a label holds the method and only what sets it apart from its like."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        together = found.setdefault(json.dumps(run.settings, sort_keys=True, default=str), [])
        if twin := next((other for other in together if other.seed == run.seed), None):
            raise ValueError(f"{twin.path} and {run.path} are the same run twice: give one of them")
        together.append(run)
    every = [together[0].settings for together in found.values()]
    return [Group(label(own, every), together) for own, together in zip(every, found.values())]


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
        if any(other.get(key) != value for other in alike)
    ]
    return " ".join([name, *apart])


def baseline_of(own: Group, groups: list[Group]) -> Group | None:
    """The baseline on the same images and network, the one nearest in its other settings."""
    choices = [other for other in groups if other.is_baseline and other.terms == own.terms]
    if own.is_baseline or not choices:
        return None
    return min(choices, key=lambda other: len(differing([own.settings, other.settings])))


def row(group: Group, baseline: Group | None) -> Row:
    scores = [run.score for run in group.runs]
    ahead = fmean(scores) - fmean(run.score for run in baseline.runs) if baseline else None
    validated = all(run.values("val/top1") for run in group.runs)
    cost = group.runs[0].environment["cost"]
    return Row(
        label=group.label,
        seeds=len(scores),
        top1=fmean(scores),
        top1_sd=stdev(scores) if len(scores) > 1 else None,
        baseline=baseline and baseline.label,
        difference=ahead,
        best_val=group.mean(lambda run: max(run.values("val/top1"))) if validated else None,
        last_val=group.mean(lambda run: run.values("val/top1")[-1]) if validated else None,
        parameters=cost["parameters"],
        trained_parameters=cost["trained_parameters"],
        cost=cost["step_macs"] / cost["supervised_macs"] if "step_macs" in cost else None,
        images_per_second=median(v for run in group.runs for v in run.values("images_per_second")),
        minutes=group.mean(lambda run: sum(run.values("seconds")) / 60),
    )


def verdict(row: Row, baseline_sd: float | None) -> str:
    if not row.difference or row.difference < 0:
        return f"Not ahead of {row.baseline}"
    if row.top1_sd is None or baseline_sd is None:
        return f"Ahead of {row.baseline}, as far as one seed can tell"
    if row.difference <= max(row.top1_sd, baseline_sd):
        return f"Ahead of {row.baseline} by no more than the spread over seeds"
    return f"Ahead of {row.baseline}"


def differing(tables: list[dict[str, Any]]) -> list[str]:
    """The names under which not all tables hold the same, in the order of their first appearance."""
    names = dict.fromkeys(name for table in tables for name in table)
    return [name for name in names if any(t.get(name) != tables[0].get(name) for t in tables)]


def warnings(groups: list[Group]) -> list[str]:
    """What the groups do not share, besides the method and its options, a sentence each."""
    settings = [group.settings for group in groups]
    told = [
        difference(name, [(group.settings.get(name), group.label) for group in groups])
        for name in differing(settings)
        if not name.startswith(("method.", "before."))
    ]
    if len(sets := data_sets(groups)) > 1:
        told.insert(
            0,
            f"accuracies on {', '.join(sets)} are not to be compared: the rows of each are"
            " ranked for themselves",
        )
    machines = [run.environment for group in groups for run in group.runs]
    told += [
        difference(name, [place for group in groups for place in machine(name, group)])
        for name in differing(machines)
        if name in MACHINE
    ]
    seeds = [(sorted(run.seed for run in group.runs), group.label) for group in groups]
    if any(some != seeds[0][0] for some, _ in seeds):
        told.append(difference("seed", seeds))
    if single := [group.label for group in groups if len(group.runs) == 1]:
        told.append(f"one seed only, so no spread is given: {', '.join(single)}")
    return told


def machine(name: str, group: Group) -> list[tuple[Any, str]]:
    """Each value in a group's environments, and where: the group, or its seeds where they differ."""
    seeds: dict[str, list[int]] = {}
    for run in group.runs:
        seeds.setdefault(shown(run.environment.get(name)), []).append(run.seed)
    if len(seeds) == 1:
        return [(value, group.label) for value in seeds]
    return [(value, f"{group.label} (seed {shown(sorted(some))})") for value, some in seeds.items()]


def difference(name: str, places: list[tuple[Any, str]]) -> str:
    """`torch differs: 2.14 in mixskd (seed 3); 2.15 elsewhere`."""
    found: dict[str, list[str]] = {}
    for value, place in places:
        found.setdefault(shown(value), []).append(place)
    common = max(found, key=lambda value: len(found[value]))
    parts = [f"{value} in {', '.join(at)}" for value, at in found.items() if value != common]
    at = "elsewhere" if len(found[common]) > 2 else f"in {', '.join(found[common])}"
    return f"{name} differs: {'; '.join([*parts, f'{common} {at}'])}"


def percent(share: float | None, sign: str = "") -> str:
    return "–" if share is None else f"{100 * share:{sign}.2f}".replace("-", "−")
