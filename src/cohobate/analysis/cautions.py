"""What a comparison has to be read with: all that its runs do not share, a sentence each."""

from collections.abc import Callable
from typing import Any

from cohobate.analysis.groups import Group, data_sets, differing, takes
from cohobate.analysis.runs import Run, shown

MACHINE = ("cohobate", "code", "torch", "torchvision", "timm", "processor", "devices", "threads", "precision", "compile")  # fmt: skip
"""What of the environment can change a result or its speed."""
LENGTH = ("optim.epochs", "optim.milestones", "optim.warmup")
"""The settings that a budget changes, besides what a method counts in epochs."""
ROOT = "data.root"
LEARNT = {"train": "training", "val": "validation"}
"""The parts of the images that a run learns from, or is chosen by."""


def cautions(groups: list[Group], scaled: bool = False) -> list[str]:
    """What the groups do not share, besides the method and its options.

    scaled: whether their lengths differ because a budget wants it.
    """
    told = []
    for name in differing([group.settings for group in groups]):
        if name.startswith(("method.", "before.")) or (scaled and name in LENGTH):
            continue
        places = [(g.settings.get(name), g.label) for g in groups if takes(g.settings, name)]
        if any(value != places[0][0] for value, _ in places):
            told.append(difference(name, places))
    if len(sets := data_sets(groups)) > 1:
        told.insert(
            0,
            f"scores on {', '.join(sets)} are not to be compared: the rows of each are"
            " ranked for themselves",
        )
    machines = [run.environment for group in groups for run in group.runs]
    told += [
        difference(name, [place for group in groups for place in machine(name, group)])
        for name in differing(machines)
        if name in MACHINE
    ]
    for each in groups:
        if ROOT in mixed(each):
            told.append(
                difference(ROOT, seeds_by(lambda run: run.root, each))
                + "; where these are not the same images, the row means nothing"
            )
    return told + _other_images(groups) + _seeds(groups)


def mixed(group: Group) -> list[str]:
    """What of code, libraries and hardware is not the same in all runs of a group, nor where data lay."""
    own = [name for name in differing([run.environment for run in group.runs]) if name in MACHINE]
    return own + [ROOT] * (len({run.root for run in group.runs}) > 1)


def _other_images(groups: list[Group]) -> list[str]:
    """Of runs on the same data those that were scored, and of one seed those that trained or were validated, on others."""
    told = []
    tests: dict[str, list[tuple[str, str]]] = {}
    for group in groups:
        marks = [(mark[:8], group.label) for mark in sorted(group.tested)]
        tests.setdefault(f"{sorted(group.terms.items(), key=str)}", []).extend(marks)
    for places in tests.values():
        if len({mark for mark, _ in places}) > 1:
            what = "fingerprint of the test images"
            told.append(difference(what, places) + "; no difference is taken between those rows")
    by_terms: dict[str, list[tuple[str, Run]]] = {}
    for group in groups:
        for run in group.runs:
            key = f"{sorted(group.terms.items(), key=str)} {run.seed}"
            by_terms.setdefault(key, []).append((group.label, run))
    for runs in by_terms.values():
        for part, what in LEARNT.items():
            places = [(run.images[part][:8], label) for label, run in runs if part in run.images]
            if len({mark for mark, _ in places}) > 1:
                name = f"fingerprint of the {what} images of seed {runs[0][1].seed}"
                told.append(difference(name, places))
                break  # one cut of the data gives both
    return told


def _seeds(groups: list[Group]) -> list[str]:
    told = []
    seeds = [(sorted(run.seed for run in group.runs), group.label) for group in groups]
    if any(some != seeds[0][0] for some, _ in seeds):
        told.append(
            difference("seed", seeds) + "; a difference is over the seeds that both rows have"
        )
    if single := [group.label for group in groups if len(group.runs) == 1]:
        told.append(f"one seed only, so no spread and no interval is given: {', '.join(single)}")
    bare = [
        f"{group.label} (seed {shown(lacking)})"
        for group in groups
        if (lacking := sorted(run.seed for run in group.runs if run.outcomes is None))
        and len(group.runs) > 1
    ]
    if bare:
        told.append(
            f"no outcomes.json, and without it no interval over test images: {', '.join(bare)}"
        )
    return told


def machine(name: str, group: Group) -> list[tuple[Any, str]]:
    """Each value in a group's environments, and where."""
    return seeds_by(lambda run: run.environment.get(name), group)


def seeds_by(of: Callable[[Run], Any], group: Group) -> list[tuple[Any, str]]:
    """What is true of the runs of a group, and where: in the group, or its seeds where they differ."""
    seeds: dict[str, list[int]] = {}
    for run in group.runs:
        seeds.setdefault(shown(of(run)), []).append(run.seed)
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
