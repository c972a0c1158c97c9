"""Runs that are to be looked at together: opened, named apart, and known to share their images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from cohobate.analysis.comparison import Comparison, compare
from cohobate.analysis.figures import DASHES, PALETTE, Style, looks, styles
from cohobate.analysis.groups import group, label
from cohobate.analysis.heads import is_read
from cohobate.analysis.runs import Run, check_task
from cohobate.core import Method
from cohobate.methods.supervised import Supervised
from cohobate.rundir import RunDir
from cohobate.trained import Trained, reopen

LOOKS = len(PALETTE) * len(DASHES)
"""How many runs are told apart by their lines."""


@dataclass(frozen=True)
class Sitter:
    """A run under its label. trained, method: None where its folder holds no weights.

    method: with all its heads, or around the network alone, where the folder has lost them. Its
        network is the deployed one, unless heads read the maps of that of the last step.
    """

    label: str
    run: Run
    trained: Trained | None = None
    method: Method | None = None

    @property
    def averaged(self) -> bool:
        """Whether an average is deployed in the place of the network that the method's heads read."""
        if self.trained is None or self.method is None:
            return False
        return self.trained.run.raw_model.is_file() and is_read(self.method)


def open_runs(
    folders: Sequence[Path], split: str, overrides: Sequence[str]
) -> tuple[list[Sitter], list[str]]:
    """The runs, and a sentence for each whose folder does not hold all that a run leaves.

    Raises ValueError where a folder is no run's, or the runs do not share images and classes.
    """
    if not folders:
        raise ValueError("there is no run to analyse: give RUN_FOLDER")
    runs = [Run.read(folder) for folder in dict.fromkeys(folders)]
    check_task(runs)
    sitters: list[Sitter] = []
    notes: list[str] = []
    first: Trained | None = None
    for run, name in zip(runs, labels(runs)):
        if not run.finished:
            notes.append(
                f"{run.path} is not done: {len(run.rows)} of {run.epochs} epochs, so it has no"
                " learning curve, and what else is said of it is of the weights in its folder"
            )
        if not RunDir(run.path).model.is_file():
            sitters.append(Sitter(name, run))
            notes.append(
                f"{run.path} holds no trained network (model.safetensors): of it there are learning"
                " curves and settings alone"
            )
            continue
        trained = reopen(run.path, overrides)
        trained.split(split)
        if first:
            _check_same(first, trained, split)
            trained = replace(trained, data=first.data)  # hold the images once
        first = first or trained
        method, note = _method(trained)
        sitters.append(sitter := Sitter(name, run, trained, method))
        notes += note
        if sitter.averaged:
            notes.append(
                f"{run.path} deploys an average of its weights, which its heads do not know: heads,"
                " mixtures, attention and similarity are those of its last step"
            )
    return sitters, notes


def _method(trained: Trained) -> tuple[Method, list[str]]:
    """The method of a run, and a sentence where nothing but its network is there."""
    try:
        method = trained.method()
    except ValueError as error:
        reason = f"{error}: of {trained.run.path}, the network alone is looked at"
        return Supervised(trained.network).eval(), [reason]
    if not is_read(method):
        method.model = trained.network  # which may be an average of the method's own
    return method.eval(), []


def _check_same(one: Trained, other: Trained, split: str) -> None:
    both = f"{one.run.path} and {other.run.path}"
    if one.data.classes != other.data.classes:
        raise ValueError(f"{both} know other classes: give runs on the same data")
    if one.data.size != other.data.size:
        raise ValueError(
            f"{both} take images of {one.data.size} and {other.data.size} pixels: give runs of one"
            " size"
        )
    if one.split(split).fingerprint() != other.split(split).fingerprint():
        raise ValueError(
            f"{both} have other {split} images: give runs on the same data"
            + (", or choose --split test" if split != "test" else "")
        )


def labels(runs: Sequence[Run]) -> list[str]:
    """A label a run: with its seed where the rest is equal, with its folder where that is too."""
    every = [run.settings for run in runs]
    names = [label(settings, every) for settings in every]
    names = _apart(names, [f"seed={run.seed}" for run in runs])
    return _apart(names, [str(run.path) for run in runs])


def _apart(names: list[str], marks: list[str]) -> list[str]:
    """The names, with their marks where there are several of a name."""
    return [f"{n} {mark}" if names.count(n) > 1 else n for n, mark in zip(names, marks)]


def compared(sitters: Sequence[Sitter]) -> tuple[Comparison | None, list[str]]:
    """The runs that are done side by side, those that differ in seed only as one; and those there twice.

    None where no run is done.
    """
    kept: list[Run] = []
    notes = []
    for run in (sitter.run for sitter in sitters if sitter.run.finished):
        alike = [one for one in kept if (one.settings, one.seed) == (run.settings, run.seed)]
        twin = next((one for one in alike if not _are_apart([one, run])), None)
        if twin is None:
            kept.append(run)
        elif twin.trained_like(run):
            notes.append(
                f"{run.path} is the run of {twin.path} once more, and left out of curves and comparison"
            )
        else:
            said = f"{run.path} differs from {twin.path} in its training images alone"
            notes.append(f"{said}, and is left out of curves and comparison")
    try:
        return compare(run.path for run in kept) if kept else None, notes
    except ValueError as error:  # of scores that are no shares
        return None, [*notes, str(error)]


def _are_apart(runs: Sequence[Run]) -> bool:
    """Whether no two runs of equal settings and seed are of equal images, as far as they tell."""
    try:
        return bool(group(runs))
    except ValueError:
        return False


def run_styles(sitters: Sequence[Sitter], comparison: Comparison | None) -> dict[str, Style]:
    """A look for each run: the colour of its learning curve, and a stroke for each seed.

    Where there are more methods than colours, or more seeds than strokes, only a method of one seed
    has the look of its curve; the others have what is left.
    """
    known: dict[Path, Style] = {}
    if comparison is not None:
        look, groups = styles(comparison), comparison.groups
        colours = [style.colour for style in look.values()]
        if len({*colours}) < len(colours) or max(len(g.runs) for g in groups) > len(DASHES):
            groups = [group for group in groups if len(group.runs) == 1]
            known = {group.runs[0].path: look[group.label] for group in groups}
        else:
            known = {
                run.path: Style(look[group.label].colour, stroke)
                for group in groups
                for run, stroke in zip(group.runs, DASHES)
            }
    every = looks(map(str, range(LOOKS))).values()
    others = cycle([style for style in every if style not in known.values()] or every)
    return {each.label: known.get(each.run.path) or next(others) for each in sitters}
