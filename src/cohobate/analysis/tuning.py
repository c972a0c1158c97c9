"""What a sweep is for: validation images choose among the values of settings, and test images judge the choice."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from cohobate.analysis.cautions import LENGTH
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.groups import Group, baseline_of, data_sets, differing, methods
from cohobate.analysis.rows import Row, ahead, percent, row_of
from cohobate.analysis.runs import shown
from cohobate.methods import find_method


class Point(NamedTuple):
    """A group of runs with certain values of what was varied, and its row."""

    group: Group
    row: Row


def tune(comparison: Comparison, keys: Sequence[str]) -> Comparison:
    """A comparison in which validation images have chosen among the values of `keys`, for each method.

    The best mean validation score at the last epoch is chosen. Rows of a method stand together, the
    chosen one first and the others by that score, where the chosen one's test score puts them; it
    alone is among the findings. Where the baseline was varied too, all are held against its best.
    Without validation images nothing is chosen, nothing found, and the order is that of the values.
    """
    families: dict[str, list[Point]] = defaultdict(list)
    for point in map(Point, comparison.groups, comparison.rows):
        settings = point.group.settings
        images = {key for key in point.group.terms if key.startswith("data.")}
        free = {*keys} - images  # scores on other images are no choice
        if comparison.budget or "optim.epochs" in keys:
            free |= lengths(settings)
        fixed = {key: value for key, value in settings.items() if key not in free}
        families[json.dumps(fixed, sort_keys=True, default=str)].append(point)
    baselines = [_best(own, keys).group for own in families.values() if _chooses(own)]
    sets = data_sets(comparison.groups)
    ordered = sorted(
        (
            [_judged(point, own, keys, baselines, comparison) for point in own]
            for own in families.values()
        ),
        key=lambda own: (sets.index(own[0].group.data), not own[0].group.is_baseline, -_place(own)),
    )
    ordered = [sorted(own, key=lambda point: _order(point, keys)) for own in ordered]
    groups, rows = map(list, zip(*(point for own in ordered for point in own)))
    told = [_sentence(own, keys) for own in ordered if len(own) > 1]
    return replace(comparison, groups=groups, rows=rows, tuned=told)


def lengths(settings: dict[str, Any]) -> set[str]:
    """The settings of a run that change with its length."""
    try:
        own = find_method(settings["method.name"]).in_epochs()
    except ValueError:  # it came from outside the package, and is not there any more
        own = []
    return {*LENGTH, *(f"method.{name}" for name in own)}


def _chooses(points: Sequence[Point]) -> bool:
    """Whether validation images can choose among these."""
    return len(points) > 1 and _validated(points) and _of_equal_seeds(points)


def _validated(points: Sequence[Point]) -> bool:
    return all(point.row.last_val is not None for point in points)


def _of_equal_seeds(points: Sequence[Point]) -> bool:
    """Whether the means of all are over the same seeds."""
    return len({frozenset(run.seed for run in point.group.runs) for point in points}) == 1


def _best(points: Sequence[Point], keys: Sequence[str]) -> Point:
    """The best on validation images; among equals the first by its values, as test images must not choose."""
    return min(points, key=lambda point: _rank(point, keys))


def _judged(
    point: Point,
    family: Sequence[Point],
    keys: Sequence[str],
    best: list[Group],
    comparison: Comparison,
) -> Point:
    """A point, whether it is chosen, and held against the best of the baselines that were varied."""
    group = point.group
    baseline = baseline_of(group, best) or baseline_of(group, comparison.groups)
    chosen = None
    if len(family) > 1:
        chosen = _chooses(family) and _best(family, keys) is point
    new = row_of(group, baseline, shares=any(old.share for old in comparison.rows))
    return Point(group, replace(new, chosen=chosen))


def _place(points: Sequence[Point]) -> float:
    """The test score by which a method is ranked: that of its chosen row, else of all together."""
    chosen = [point.row.score for point in points if point.row.chosen is not False]
    return fmean(chosen or [point.row.score for point in points])


def _rank(point: Point, keys: Sequence[str]) -> tuple[float, list[str]]:
    return -(point.row.last_val or 0), [shown(point.group.settings.get(key)) for key in keys]


def _order(point: Point, keys: Sequence[str]) -> tuple[bool, tuple[float, list[str]]]:
    return not point.row.chosen, _rank(point, keys)


def _sentence(points: Sequence[Point], keys: Sequence[str]) -> str:
    """What was chosen among the values of a method; the chosen row is the first."""
    group, best = points[0]
    name = methods(group.settings)
    varied = [key for key in keys if key in differing([each.settings for each, _ in points])]
    if not best.chosen:
        why = "there are no validation images for it, and the test images must not choose"
        if _validated(points):
            why = "not all have the same seeds, and means over other seeds are no choice"
        return (
            f"{name}: nothing was chosen among {len(points)} values of {', '.join(varied)}: {why}"
        )
    values = ", ".join(f"{key}={shown(group.settings.get(key))}" for key in varied)
    spread = f" ± {percent(best.score_sd)}" if best.score_sd is not None else ""
    sentence = (
        f"{name}: validation chose {values} among {len(points)}, with {percent(best.last_val)} %"
        f" on its images; on the test images that has {percent(best.score)}{spread} %"
    )
    if best.difference is not None:
        sentence += f", {ahead(best)} against {best.baseline}"
    return sentence
