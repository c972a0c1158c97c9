"""Runs over their epochs as pictures, in Plotly: validation scores, and each term of the loss.

Plotly reads a little HTML in every text, so whatever a user has named is escaped first.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev
from typing import Any

import plotly.graph_objects as go

from cohobate.analysis.comparison import Comparison
from cohobate.analysis.figures import DASHES, Style, blank, escaped, styles, wrapped
from cohobate.analysis.groups import Group
from cohobate.analysis.runs import Run

Value = Callable[[dict[str, Any]], float | None]
"""A number out of a row of `metrics.jsonl`; None where the row has none."""
TRAIN = "train/"
"""What a loss term begins with there."""


def learning_curves(comparison: Comparison) -> go.Figure:
    """The validation score over the epochs; the training loss, where no run has a validation split.

    The axis is cut to what happens after the first quarter; Plotly's double click shows the rest.
    """
    title, unit, value = learnt(comparison)
    figure = add(blank("epoch", title), comparison, value, unit)
    if unit:
        traces = list[Any](figure.data)
        late = [y for trace in traces for x, y in zip(trace.x, trace.y) if x > max(trace.x) // 4]
        room = 0.05 * (max(late) - min(late)) or 0.5
        bounds = min(late) - room, max(late) + room
        if any(not bounds[0] <= y <= bounds[1] for trace in traces for y in trace.y):
            figure.update_yaxes(range=bounds)
    return figure


def learnt(comparison: Comparison) -> tuple[str, str, Value]:
    """What the learning curves are of, what follows a number of it, and that number in a row."""
    value = partial(validated, comparison)
    if any(has(run, value) for run in comparison.runs):
        return f"validation {comparison.task.title} (%)", " %", value
    return "training loss, sum of all terms", "", lambda row: sum(row[name] for name in terms(row))


def validated(comparison: Comparison, row: dict[str, Any]) -> float | None:
    """The score of the validation images in a row of `metrics.jsonl`, in percent."""
    score = row.get(f"val/{comparison.task.score}")
    return None if score is None else 100 * score


def without_validation(comparison: Comparison) -> list[str]:
    """The runs that have no curve among others' validation scores; none, where all show their loss."""
    value = partial(validated, comparison)
    bare = [
        f"{group.label} seed={run.seed}"
        for group in comparison.groups
        for run in group.runs
        if not has(run, value)
    ]
    return bare if len(bare) < len(comparison.runs) else []


def loss_terms(comparison: Comparison) -> dict[str, go.Figure]:
    """A small figure for each loss term, with all the methods that have it."""
    figures = {}
    for name in every_term(comparison):
        term = name.removeprefix(TRAIN)
        figure = blank("epoch", "loss", height=250, title=term).update_layout(showlegend=False)
        figures[term] = add(figure, comparison, lambda row, name=name: row.get(name))
    return figures


def terms(row: dict[str, Any]) -> list[str]:
    return [name for name in row if name.startswith(TRAIN)]


def every_term(comparison: Comparison) -> list[str]:
    """The loss terms of all runs, as `metrics.jsonl` names them."""
    return [*dict.fromkeys(name for run in comparison.runs for name in terms(run.rows[0]))]


def add(figure: go.Figure, comparison: Comparison, value: Value, unit: str = "") -> go.Figure:
    """Adds every group, with those of its runs whose rows all have the value; of a crowd the means."""
    look = styles(comparison)
    for group in comparison.groups:
        if runs := [run for run in group.runs if has(run, value)]:
            own, style = replace(group, runs=runs), look[group.label]
            figure.add_traces(curve(own, style, value, unit, alone=comparison.crowded))
    if max(run.epochs for run in comparison.runs) <= 10:
        figure.update_xaxes(dtick=1)  # there is no half an epoch
    return figure.update_layout(hoverdistance=100)  # pixels: the ends of a curve lie on the frame


def has(run: Run, value: Value) -> bool:
    """Whether there is a number for every epoch of a run."""
    return all(value(row) is not None for row in run.rows)


def curve(
    group: Group, style: Style, value: Value, unit: str, *, alone: bool = False
) -> list[go.Scatter]:
    """A thin line a seed, their mean, and a band of ± sd where there are several; or the mean alone."""
    table = [[value(row) for row in run.rows] for run in group.runs]
    epochs = [*range(1, group.runs[0].epochs + 1)]
    mean = [fmean(values) for values in zip(*table)]
    spread = [stdev(values) if len(values) > 1 else 0.0 for values in zip(*table)]
    name = escaped(group.label)
    shared = {"legendgroup": group.label, "mode": "lines" if len(epochs) > 1 else "markers"}
    centre = go.Scatter(
        x=epochs,
        y=mean,
        name=wrapped(group.label),
        line={"color": style.colour, "dash": DASHES[style.stroke], "width": 2.25},
        customdata=[[name, f"{f' ± {s:.2g}' if len(table) > 1 else ''}{unit}"] for s in spread],
        hovertemplate="%{customdata[0]}<br>epoch %{x}: %{y:.4g}%{customdata[1]}<extra></extra>",
        **shared,
    )
    if alone:
        return [centre]
    band = go.Scatter(
        x=epochs + epochs[::-1],
        y=[m + s for m, s in zip(mean, spread)] + [m - s for m, s in zip(mean, spread)][::-1],
        fill="toself",
        fillcolor=style.tint(0.14),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group.label,
        mode="lines",
    )
    seeds = [
        go.Scatter(
            x=epochs,
            y=values,
            line={"color": style.tint(0.3), "width": 0.75},
            showlegend=False,
            customdata=[[escaped(str(run.path)), unit]] * len(epochs),
            hovertemplate="%{customdata[0]}<br>epoch %{x}: %{y:.4g}%{customdata[1]}<extra></extra>",
            **shared,
        )
        for run, values in zip(group.runs, table)
    ]
    return [band, centre, *seeds]
