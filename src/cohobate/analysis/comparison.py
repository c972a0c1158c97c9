"""Runs side by side: their rows, what these say in words, and what to be wary of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cohobate.analysis.cautions import cautions
from cohobate.analysis.groups import BASELINE, Group, baseline_of, data_sets, group
from cohobate.analysis.rows import Row, ahead, percent, row_of
from cohobate.analysis.runs import Run, check_task
from cohobate.rundir import RunDir
from cohobate.tasks import Task

MANY = 20
"""From so many intervals of 95 % on, chance alone is expected to leave zero out of one of them."""

CROWD = 12
"""More methods than these are drawn, and told of, in fewer strokes."""


@dataclass(frozen=True)
class Comparison:
    """Groups of finished runs and their rows, by data set, baseline first, then the best; and what to be wary of.

    budget: a sentence on what was made equal, where it is not the number of epochs.
    tuned: sentences on what validation images chose of the settings that were varied.
    left_out: of each folder that holds no finished run, why; the warnings say it too.
    """

    groups: list[Group]
    rows: list[Row]
    warnings: list[str]
    budget: str = ""
    tuned: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def task(self) -> Task:
        return self.groups[0].runs[0].task

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def several(self) -> bool:
        """Whether there are rows to hold against each other."""
        return len(self.rows) > 1

    @property
    def crowded(self) -> bool:
        """Whether there are so many rows that curves show their means alone."""
        return len(self.rows) > CROWD

    @property
    def findings(self) -> list[str]:
        """What the rows say against their baseline, in words no stronger than the numbers.

        Of the values that a sweep tried, only what the chosen ones say. Of more than `CROWD` rows of
        which the same is said, intervals are left to the table.
        """
        spread = {row.label: row.score_sd for row in self.rows}
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.baseline and row.difference is not None and row.chosen is not False:
                found.setdefault(verdict(row, spread[row.baseline]), []).append(row)
        told = []
        for said, rows in found.items():
            many = len(rows) > CROWD
            each = [f"{r.label} ({percent(r.difference, '+') if many else ahead(r)})" for r in rows]
            told.append(f"{said}{f', {len(rows)} rows' if many else ''}: {', '.join(each)}")
        bounded = sum(row.low is not None and row.chosen is not False for row in self.rows)
        if bounded >= MANY:
            told.append(
                f"Each of the {bounded} intervals in the table is for one method by itself: if none"
                f" changed anything, about {round(bounded / MANY)} would be expected to leave zero out"
            )
        return told


def compare(
    paths: Iterable[str | Path], *, told: Sequence[str] = (), budget: str = ""
) -> Comparison:
    """Reads run folders and sets their finished runs side by side.

    told: sentences that come before the warnings.
    Raises ValueError where no folder holds a finished run, and for runs of several tasks.
    """
    runs, left_out = [], []
    for path in dict.fromkeys(map(Path, paths)):
        try:
            run = Run.read(path)
        except ValueError as error:
            left_out.append(str(error))
            continue
        if run.finished and 0 <= run.score <= 1:
            runs.append(run)
        elif run.finished:
            score = f"test/{run.task.score} is {run.score}, and no share between 0 and 1"
            left_out.append(f"{path / 'metrics.jsonl'}: {score}")
        else:
            epochs = f"{len(run.rows)} of {run.epochs} epochs"
            lost = RunDir(path).model.is_file()  # which is written at the end
            remedy = (
                "in its metrics.jsonl, although its network is done: remove the folder and train it anew"
                if lost
                else "so far: `cohobate train` it again to finish"
            )
            left_out.append(f"{path}: {epochs} {remedy}")
    if not runs:
        raise ValueError("; ".join(["no finished run to compare", *told, *left_out]))
    check_task(runs)
    groups = group(runs)
    shares = _are_unequal(groups, budget)
    pairs = [(each, row_of(each, baseline_of(each, groups), shares=shares)) for each in groups]
    sets = data_sets(groups)
    pairs.sort(key=lambda p: (sets.index(p[0].data), not p[0].is_baseline, -p[1].score))
    groups, rows = map(list, zip(*pairs))
    warnings = [*told, *(f"left out: {said}" for said in left_out), *_unpaired(groups, rows)]
    if any(row.oracle is not None for row in rows):
        warnings.append("oracle: the test images chose the epoch, so it is no result")
    warnings += cautions(groups, scaled=bool(budget))
    return Comparison(groups, rows, warnings, budget, left_out=left_out)


def uneven(comparison: Comparison, budget: str) -> list[str]:
    """A sentence where rows are far from what a budget, of operations or of minutes, gave to all."""
    rows = comparison.rows
    if budget == "compute":
        said = "in whole epochs, a training costs another share of the baseline's operations"
        shares = [row.share or 1 for row in rows]
    elif budget == "minutes":
        said = "whole epochs, or another pace than was timed, gave another share of the minutes"
        minutes = {row.label: row.minutes for row in rows}
        shares = [row.minutes / minutes[row.baseline or row.label] for row in rows]
    else:
        return []
    far = [f"{r.label} {share:.2f}" for r, share in zip(rows, shares) if abs(share - 1) > 0.1]
    return [f"{said}: {', '.join(far)}"] if far else []


def _are_unequal(groups: list[Group], budget: str) -> bool:
    """Whether trainings differ in length, or may: then a row tells its share of the baseline's operations."""
    return bool(budget) or len({each.settings["optim.epochs"] for each in groups}) > 1


def _unpaired(groups: list[Group], rows: list[Row]) -> list[str]:
    """Sentences on the rows that share no seed, or one of several, with their baseline."""
    told = []
    alone = [g.label for g, row in zip(groups, rows) if not (row.baseline or g.is_baseline)]
    if alone and len(groups) > 1:
        told.append(
            f"no plain run of {BASELINE} on the same images and network, so no difference is given:"
            f" {', '.join(alone)}"
        )
    for row in rows:
        if not row.baseline:
            continue
        pair = f"{row.label} and {row.baseline} have"
        if row.common == 0:
            told.append(f"{pair} no seed in common, so no difference is given")
        elif row.common == 1 < row.seeds:
            told.append(f"{pair} one seed in common, so no interval is given")
    return told


def verdict(row: Row, baseline_sd: float | None) -> str:
    if row.low is not None and row.high is not None:
        if row.low > 0:
            return f"Ahead of {row.baseline}"
        return f"{'Behind' if row.high < 0 else 'Not shown to be ahead of'} {row.baseline}"
    if not row.difference or row.difference < 0:
        return f"Not ahead of {row.baseline}"
    if row.common == 1 or row.score_sd is None or baseline_sd is None:
        return f"Above {row.baseline} on one seed, which does not show that it is ahead"
    if row.difference <= max(row.score_sd, baseline_sd):
        return f"Ahead of {row.baseline} by no more than the spread over seeds"
    return f"Ahead of {row.baseline} by more than the spread over seeds"
