"""A comparison as pictures, in Matplotlib: what its page shows, on white paper."""

from collections.abc import Iterator, Sequence
from math import ceil
from statistics import fmean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cohobate.analysis import curves, sweeps
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.curves import Value
from cohobate.analysis.figures import GREY, Style, front, styles, ticks
from cohobate.analysis.groups import data_sets
from cohobate.analysis.paper import BLUES, grid, legend, plain, titled

LINE = 0.36
"""Inches of a row of dots."""


def rows(comparison: Comparison) -> dict[str, Figure]:
    """What the rows of a comparison look like, by the names of files."""
    drawn = {"scores": scores(comparison)}
    if any(row.difference is not None for row in comparison.rows):
        drawn["differences"] = differences(comparison)
    if all(row.operations for row in comparison.rows):
        drawn["cost"] = cost(comparison)
    return drawn


def epochs(comparison: Comparison) -> dict[str, Figure]:
    """What its runs look like over their epochs, and over the settings that were varied."""
    drawn = {"learning-curves": learning_curves(comparison)}
    if curves.every_term(comparison):
        drawn["loss-terms"] = loss_terms(comparison)
    for number, method in enumerate(sweeps.grids(comparison)):
        drawn[f"settings-{number}"] = settings(comparison, method)
    return drawn


def scores(comparison: Comparison) -> Figure:
    """The test score at the last epoch: a dot a seed, and the mean ± sd."""
    figure, axes = _dots([group.label for group in comparison.groups])
    for place, (style, group, row) in enumerate(
        zip(_styles(comparison), comparison.groups, comparison.rows)
    ):
        own = [100 * run.score for run in group.runs]
        axes.plot(own, [place - 0.16] * len(own), "o", color=style.colour, fillstyle="none")
        spread = 100 * row.score_sd if row.score_sd is not None else None
        axes.errorbar(
            100 * row.score, place + 0.12, xerr=spread, fmt="D", color=style.colour, capsize=3
        )
    if comparison.groups[0].is_baseline:
        axes.axvline(100 * comparison.rows[0].score, linestyle=":", color=GREY)
    axes.set_xlabel(f"test {comparison.task.title} (%)")
    return figure


def differences(comparison: Comparison) -> Figure:
    """The difference of each row to its baseline with its interval; an open mark has none."""
    table = zip(_styles(comparison), comparison.rows)
    found = [(style, row) for style, row in table if row.difference is not None]
    figure, axes = _dots([row.label for _, row in found])
    for place, (style, row) in enumerate(found):
        mean, known = 100 * (row.difference or 0), row.low is not None and row.high is not None
        reach = mean - 100 * (row.low or 0), 100 * (row.high or 0) - mean
        bounds = [[max(0.0, each)] for each in reach] if known else None  # which rounding may turn
        axes.errorbar(
            mean,
            place,
            xerr=bounds,
            fmt="D",
            color=style.colour,
            capsize=3,
            fillstyle="full" if known else "none",
        )
    axes.axvline(0, linestyle=":", color=GREY)
    axes.set_xlabel(f"difference in test {comparison.task.title} (points)")
    return figure


def cost(comparison: Comparison) -> Figure:
    """The test score over the multiply-adds of a training, with the Pareto front of each data set."""
    figure, (axes,) = grid(1, size=(6, 3.8))
    costs = [(row.operations or 0) / 1e12 for row in comparison.rows]
    for data in data_sets(comparison.groups):
        points = [
            (price, 100 * row.score)
            for group, row, price in zip(comparison.groups, comparison.rows, costs)
            if group.data == data
        ]
        axes.step(*zip(*front(points)), ":", where="post", color=GREY)
    for style, row, price in zip(_styles(comparison), comparison.rows, costs):
        spread = 100 * row.score_sd if row.score_sd is not None else None
        look: dict[str, Any] = {
            "fmt": "D" if style.stroke == "dotted" else "o",
            "color": style.colour,
            "fillstyle": "full" if style.stroke == "solid" else "none",
            "capsize": 3,
        }
        axes.errorbar(price, 100 * row.score, yerr=spread, label=plain(row.label), **look)
    axes.set(
        xscale="log",
        xlabel="multiply-adds of a training (10¹²)",
        ylabel=f"test {comparison.task.title} (%)",
    )
    places = ticks(min(costs), max(costs))
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    legend(figure, axes)
    return figure


def learning_curves(comparison: Comparison) -> Figure:
    """The validation score over the epochs, else the training loss, as `curves.learning_curves` has it."""
    title, _, value = curves.learnt(comparison)
    figure, (axes,) = grid(1, size=(6, 3.8))
    _over_epochs(axes, comparison, value)
    axes.set_ylabel(title)
    shown: Any = curves.learning_curves(comparison).layout
    axes.set_ylim(shown.yaxis.range)
    legend(figure, axes)
    return figure


def loss_terms(comparison: Comparison) -> Figure:
    """A panel a term of the training loss, each with its own scale."""
    names = curves.every_term(comparison)
    figure, panels = grid(len(names), size=(3.2, 2.4))
    for axes, name in zip(panels, names):
        _over_epochs(axes, comparison, lambda row, name=name: row.get(name))
        titled(axes, name.removeprefix(curves.TRAIN))
    legend(figure, *panels)
    return figure


def settings(comparison: Comparison, method: str) -> Figure:
    """The test score of a method over one setting as a curve, over more as heat maps."""
    points, values = sweeps.grids(comparison)[method]
    across, *others = values
    title = f"test {comparison.task.title} (%)"
    if not others:
        figure, (axes,) = grid(1, size=(6, 3.8))
        points = sorted(points, key=lambda point: point[0].settings[across])
        spread = [100 * (row.score_sd or 0) for _, row in points]
        axes.errorbar(
            [group.settings[across] for group, _ in points],
            [100 * row.score for _, row in points],
            yerr=spread if any(spread) else None,
            fmt="o-",
            color=styles(comparison)[points[0][0].label].colour,
            capsize=3,
        )
        axes.set(xlabel=plain(across), ylabel=title)
        return figure
    down, tables = others[0], sweeps.panels(points, values)
    size = (1.6 + 0.75 * len(values[across]), 1.5 + 0.5 * len(values[down]))
    figure, panels = grid(len(tables), size=size)
    every = [row.score for _, row in points]
    for axes, table in zip(panels, tables):
        shares = [[row.score for row in line] for line in table.cells]
        least, most = min(every), max(every)
        axes.imshow(shares, cmap=BLUES, vmin=least, vmax=most + (most - least), aspect="auto")
        axes.grid(visible=False)
        for y, line in enumerate(table.cells):
            for x, row in enumerate(line):
                axes.text(x, y, sweeps.told(row), ha="center", va="center", fontsize="small")
        for key, put, width in ((across, axes.set_xticks, 9), (down, axes.set_yticks, 18)):
            names = sweeps.ticks(values[key])
            put(range(len(names)), [plain(name, width) for name in names], fontsize="small")
        axes.set(xlabel=plain(across), ylabel=plain(down))
        titled(axes, table.title)
    figure.suptitle(plain(f"{method}: {title}"), fontsize="medium")
    return figure


def _over_epochs(axes: Axes, comparison: Comparison, value: Value) -> None:
    """A thin line a seed, the mean of a group, and a band of ± sd; of a crowd the means alone."""
    for style, group in zip(_styles(comparison), comparison.groups):
        table: list[list[Any]] = [
            [value(row) for row in run.rows] for run in group.runs if curves.has(run, value)
        ]
        if not table:
            continue
        x = [*range(1, len(table[0]) + 1)]
        mean = [fmean(values) for values in zip(*table)]
        if len(table) > 1 and not comparison.crowded:
            for line in table:
                axes.plot(x, line, color=style.colour, alpha=0.3, linewidth=0.6)
            apart = [stdev(values) for values in zip(*table)]
            low, high = zip(*((m - s, m + s) for m, s in zip(mean, apart)))
            axes.fill_between(x, low, high, color=style.colour, alpha=0.14, linewidth=0)
        mark = "" if len(x) > 1 else "o"
        look: dict[str, Any] = {"color": style.colour, "linestyle": style.stroke, "marker": mark}
        axes.plot(x, mean, linewidth=1.8, label=plain(group.label), **look)
    longest = max(run.epochs for run in comparison.runs)
    step = ceil(longest / 6)
    axes.set_xticks(range(step, longest + 1, step))
    axes.set_xlabel("epoch")


def _dots(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """An empty line a label, the first one above."""
    named = [plain(label, 28) for label in labels]
    lines = max(1 + label.count("\n") for label in named)
    figure, (axes,) = grid(1, size=(6.4, 0.8 + max(LINE, 0.18 * lines) * len(named)))
    axes.set_yticks(range(len(named)), named)
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _styles(comparison: Comparison) -> Iterator[Style]:
    look = styles(comparison)
    return (look[group.label] for group in comparison.groups)
