"""What runs say together, in numbers: a row for those that differ in seed only, held against its baseline."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, stdev

from cohobate.analysis.bootstrap import Interval, between
from cohobate.analysis.cautions import cautions, mixed
from cohobate.analysis.groups import BASELINE, Group, baseline_of, data_sets, group
from cohobate.analysis.runs import Run, check_task
from cohobate.rundir import RunDir
from cohobate.tasks import Task

MANY = 20
"""From so many intervals of 95 % on, chance alone is expected to leave zero out of one of them."""


@dataclass(frozen=True)
class Row:
    """A line of the comparison, in raw numbers: scores are shares; None where nothing was measured.

    score: the one that counts (top-1, mIoU, …), and top5: of the test images at the last epoch, the
        mean over seeds; `…_sd` their spread.
    difference: of score to that of the row `baseline`, over the seeds that both have; `low` and
        `high` bound it, as `bootstrap.interval` has it.
    best_val, last_val: the score on the validation images at each run's best, and last, epoch.
    oracle: the best test score of any epoch: chosen on the test images, and no result.
    step_operations, operations: multiply-adds of a training step, and of a whole training; its stages
        and its teacher's training are not in it.
    share: of the baseline's operations, where trainings are not all of one length.
    memory: most bytes that the (first) process of a run held, the median over seeds.
    common: how many seeds it shares with the baseline.
    mixed: what of code, libraries and hardware, or of where data lay, is not the same for all seeds.
    chosen: whether validation images chose this one of the values that a sweep tried; None where it
        is none of several.
    """

    label: str
    seeds: int
    epochs: int
    score: float
    score_sd: float | None
    top5: float | None
    top5_sd: float | None
    baseline: str | None
    difference: float | None
    low: float | None
    high: float | None
    best_val: float | None
    last_val: float | None
    oracle: float | None
    parameters: int
    trained_parameters: int
    cost: float | None
    step_operations: float | None
    operations: float | None
    share: float | None
    images_per_second: float
    minutes: float
    memory: int | None
    common: int
    mixed: str | None
    chosen: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """Groups of finished runs and their rows, by data set, baseline first, then the best; and what to be wary of.

    budget: a sentence on what was made equal, where it is not the number of epochs.
    tuned: sentences on what validation images chose of the settings that were varied.
    """

    groups: list[Group]
    rows: list[Row]
    warnings: list[str]
    budget: str = ""
    tuned: list[str] = field(default_factory=list)

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
    def findings(self) -> list[str]:
        """What the rows say against their baseline, in words no stronger than the numbers.

        Of the values that a sweep tried, only what the chosen ones say.
        """
        spread = {row.label: row.score_sd for row in self.rows}
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if row.baseline and row.difference is not None and row.chosen is not False:
                said = verdict(row, spread[row.baseline])
                found.setdefault(said, []).append(f"{row.label} ({ahead(row)})")
        told = [f"{said}: {', '.join(those)}" for said, those in found.items()]
        bounded = sum(row.low is not None for row in self.rows)
        if bounded >= MANY:
            told.append(
                f"Each of these {bounded} intervals is for one method by itself: if none changed"
                f" anything, chance would still put about {bounded / 40:.0f} ahead and as many behind"
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
    pairs = [(each, row(each, baseline_of(each, groups), shares=shares)) for each in groups]
    sets = data_sets(groups)
    pairs.sort(key=lambda p: (sets.index(p[0].data), not p[0].is_baseline, -p[1].score))
    groups, rows = map(list, zip(*pairs))
    warnings = [*told, *(f"left out: {said}" for said in left_out), *_unpaired(groups, rows)]
    return Comparison(groups, rows, warnings + cautions(groups, scaled=bool(budget)), budget)


def uneven(comparison: Comparison) -> list[str]:
    """A sentence where whole epochs leave rows far from the operations that a budget gave to all."""
    far = [
        f"{row.label} {row.share:.2f}" for row in comparison.rows if abs((row.share or 1) - 1) > 0.1
    ]
    said = "in whole epochs, a training costs another share of the baseline's operations"
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


def row(group: Group, baseline: Group | None, *, shares: bool = False) -> Row:
    """The line of a group; `shares`: whether with its share of the baseline's operations."""
    difference, bounds = paired(group, baseline) if baseline else (None, None)
    cost = group.runs[0].environment["cost"]
    score, score_sd = spread(group, lambda run: run.score)
    counts = group.runs[0].task.score
    fifth = all("test/top5" in run.rows[-1] for run in group.runs)
    top5, top5_sd = spread(group, lambda run: run.rows[-1]["test/top5"]) if fifth else (None, None)
    step, whole = operations(group.runs[0])
    held = [run.environment.get("peak_memory_bytes", 0) for run in group.runs]
    return Row(
        label=group.label,
        seeds=len(group.runs),
        epochs=group.settings["optim.epochs"],
        score=score,
        score_sd=score_sd,
        top5=top5,
        top5_sd=top5_sd,
        baseline=baseline and baseline.label,
        difference=difference,
        low=bounds and bounds.low,
        high=bounds and bounds.high,
        best_val=over(group, f"val/{counts}", max),
        last_val=over(group, f"val/{counts}", lambda values: values[-1]),
        oracle=over(group, f"oracle/{counts}", max),
        parameters=cost["parameters"],
        trained_parameters=cost["trained_parameters"],
        cost=cost["step_macs"] / cost["supervised_macs"] if "step_macs" in cost else None,
        step_operations=step,
        operations=whole,
        share=_share(group, baseline) if shares else None,
        images_per_second=median(v for run in group.runs for v in run.values("images_per_second")),
        minutes=group.mean(lambda run: sum(run.values("seconds")) / 60),
        memory=round(median(held)) if all(held) else None,
        common=len({run.seed for run in group.runs} & {r.seed for r in baseline.runs})
        if baseline
        else 0,
        mixed=", ".join(mixed(group)) or None,
    )


def operations(run: Run) -> tuple[float, float] | tuple[None, None]:
    """Multiply-adds of a step, and of a whole training; None where the run does not tell them."""
    cost, settings = run.environment["cost"], run.settings
    if "step_macs" not in cost or "data.batch_size" not in settings:
        return None, None
    images = settings["data.batch_size"] * settings.get("optim.accumulate", 1)
    step = float(cost["step_macs"]) * images
    return step, step * run.rows[-1]["step"]


def _share(group: Group, baseline: Group | None) -> float | None:
    """What a training computes, as a multiple of what the baseline's does, where both are known."""
    if baseline is None and not group.is_baseline:
        return None
    (_, ours), (_, theirs) = (operations(each.runs[0]) for each in (group, baseline or group))
    return ours / theirs if ours and theirs else None


def paired(group: Group, baseline: Group) -> tuple[float | None, Interval | None]:
    """The mean difference of the test score over the seeds that both have, and its interval.

    Seeds that were scored on other images do not count. None where no seed is left; no interval where they share one only, or where a run does not
    tell what it made of each image.
    """
    ours, theirs = ({run.seed: run for run in each.runs} for each in (group, baseline))
    common = sorted(ours.keys() & theirs.keys())
    seeds = [seed for seed in common if ours[seed].tested_like(theirs[seed])]
    if not seeds:
        return None, None
    mean = fmean(ours[seed].score - theirs[seed].score for seed in seeds)
    outcomes = [[runs[seed].outcomes for seed in seeds] for runs in (ours, theirs)]
    known = [[each for each in side if each is not None] for side in outcomes]
    if len(seeds) < 2 or any(len(side) < len(seeds) for side in known):
        return mean, None
    return mean, between(*known)


def spread(group: Group, of: Callable[[Run], float]) -> tuple[float, float | None]:
    """Mean and standard deviation over seeds; no deviation of one seed."""
    values = [of(run) for run in group.runs]
    return fmean(values), stdev(values) if len(values) > 1 else None


def over(group: Group, name: str, of: Callable[[list[float]], float]) -> float | None:
    """The mean over seeds of one number out of a column of `metrics.jsonl`, where all have it."""
    columns = [run.values(name) for run in group.runs]
    return fmean(map(of, columns)) if all(columns) else None


def verdict(row: Row, baseline_sd: float | None) -> str:
    if row.low is not None and row.high is not None:
        if row.low > 0:
            return f"Ahead of {row.baseline}"
        return f"{'Behind' if row.high < 0 else 'Not shown to be ahead of'} {row.baseline}"
    if not row.difference or row.difference < 0:
        return f"Not ahead of {row.baseline}"
    if row.common == 1 or row.score_sd is None or baseline_sd is None:
        return f"Ahead of {row.baseline}, as far as one seed can tell"
    if row.difference <= max(row.score_sd, baseline_sd):
        return f"Ahead of {row.baseline} by no more than the spread over seeds"
    return f"Ahead of {row.baseline} by more than the spread over seeds"


def ahead(row: Row) -> str:
    """The difference of a row and its interval, in points: `+1.20, 95 % interval +0.30 to +2.10`."""
    bounds = f", 95 % interval {percent(row.low, '+')} to {percent(row.high, '+')}"
    return percent(row.difference, "+") + (bounds if row.low is not None else "")


def percent(share: float | None, sign: str = "") -> str:
    return "–" if share is None else f"{100 * share:{sign}.2f}".replace("-", "−")
