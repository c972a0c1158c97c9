"""A line of a comparison: the numbers of runs that differ in seed only, held against a baseline's."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median, stdev

from cohobate.analysis.bootstrap import Interval, between
from cohobate.analysis.cautions import mixed
from cohobate.analysis.groups import Group
from cohobate.analysis.runs import Run


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


def row_of(group: Group, baseline: Group | None, *, shares: bool = False) -> Row:
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


def ahead(row: Row) -> str:
    """The difference of a row and its interval, in points: `+1.20, 95 % interval +0.30 to +2.10`."""
    bounds = f", 95 % interval {percent(row.low, '+')} to {percent(row.high, '+')}"
    return percent(row.difference, "+") + (bounds if row.low is not None else "")


def percent(share: float | None, sign: str = "") -> str:
    return "–" if share is None else f"{100 * share:{sign}.2f}".replace("-", "−")
