"""A comparison as pictures, in Plotly: each method keeps its colour from figure to figure.

Plotly reads a little HTML in every text, so whatever a user has named is escaped first.
"""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import cycle
from math import floor, log10
from textwrap import wrap
from typing import NamedTuple

import plotly.graph_objects as go

from cohobate.analysis.comparison import Comparison
from cohobate.analysis.groups import data_sets

GREY = "#808080"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, less those that vanish on white or on black."""
DASHES = {"solid": "solid", "dashed": "dash", "dotted": "dot"}
"""What CSS and Plotly call them."""
MARKS = {"solid": "circle", "dashed": "circle-open", "dotted": "diamond-open"}
"""A dot in the place of a line."""
FONT = {"family": "system-ui, sans-serif", "size": 13}
FAINT = "rgba(128,128,128,0.22)"


class Style(NamedTuple):
    colour: str
    stroke: str

    def tint(self, share: float) -> str:
        red, green, blue = bytes.fromhex(self.colour[1:])
        return f"rgba({red},{green},{blue},{share})"


def styles(comparison: Comparison) -> dict[str, Style]:
    """Each label's look: grey for the baseline, then as `looks` has it."""
    labels = [group.label for group in comparison.groups]
    if comparison.groups[0].is_baseline:
        return {labels[0]: Style(GREY, "solid"), **looks(labels[1:])}
    return looks(labels)


def looks(labels: Iterable[str]) -> dict[str, Style]:
    """A look for each label: the colours, then the colours broken."""
    every = [Style(colour, stroke) for stroke in DASHES for colour in PALETTE]
    return dict(zip(labels, cycle(every)))


def figures(comparison: Comparison) -> dict[str, go.Figure]:
    """Every figure that there is something for under the name of its place in a page."""
    drawn = {
        "differences": differences(comparison),
        "scores": scores(comparison),
        "cost": accuracy_and_cost(comparison),
    }
    return {name: figure for name, figure in drawn.items() if figure}


def scores(comparison: Comparison) -> go.Figure:
    """The test score at the last epoch: above, a dot a seed; below, the mean ± sd."""
    labels = [wrapped(group.label) for group in comparison.groups]
    high = rows_high(labels, least=40 if comparison.crowded else 60)
    figure = blank(f"test {comparison.task.title} (%)", height=64 + high)
    look = styles(comparison)
    for place, (group, row) in enumerate(zip(comparison.groups, comparison.rows)):
        style, spread = look[group.label], 100 * (row.score_sd or 0)
        figure.add_scatter(
            x=[100 * run.score for run in group.runs],
            y=[place - 0.16] * row.seeds,
            legendgroup=group.label,
            mode="markers",
            marker={
                "color": style.colour,
                "size": 8,
                "symbol": "circle-open",
                "line": {"width": 1.75},
            },
            customdata=[[run.seed, escaped(str(run.path))] for run in group.runs],
            hovertemplate="seed %{customdata[0]}: %{x:.2f} %<br>%{customdata[1]}<extra></extra>",
        )
        figure.add_scatter(
            x=[100 * row.score],
            y=[place + 0.12],
            legendgroup=group.label,
            mode="markers",
            marker={"color": style.colour, "size": 11, "symbol": "diamond"},
            error_x={"array": [spread], "visible": row.seeds > 1, "thickness": 2, "width": 5},
            customdata=[[escaped(group.label), f"± {spread:.2f} " if row.seeds > 1 else ""]],
            hovertemplate="%{customdata[0]}<br>%{x:.2f} %{customdata[1]}%<extra></extra>",
        )
    if comparison.groups[0].is_baseline:
        line = {"color": GREY, "dash": "dot", "width": 1.25}
        figure.add_vline(100 * comparison.rows[0].score, line=line, layer="below")
    figure.update_yaxes(
        range=[len(comparison.groups) - 0.5, -0.5],
        tickvals=[*range(len(comparison.groups))],
        ticktext=labels,
        showgrid=False,
    )
    return figure.update_layout(showlegend=False)


def differences(comparison: Comparison) -> go.Figure | None:
    """The difference of each row to its baseline, with its interval; None where there is none."""
    look = styles(comparison)
    rows = [row for row in comparison.rows if row.difference is not None]
    if not rows:
        return None
    name = f"difference in {comparison.task.title} (points)"
    labels = [wrapped(row.label) for row in rows]
    figure = blank(name, height=96 + rows_high(labels, least=34))
    for place, row in enumerate(rows):
        style, mean, known = look[row.label], 100 * (row.difference or 0), row.low is not None
        low, high = (mean if bound is None else 100 * bound for bound in (row.low, row.high))
        bounds = f"95 % interval {low:+.2f} to {high:+.2f}" if known else "no interval"
        figure.add_scatter(
            x=[mean],
            y=[place],
            legendgroup=row.label,
            mode="markers",
            marker={
                "color": style.colour,
                "size": 10,
                "symbol": "diamond" if known else "diamond-open",
            },
            error_x={
                "array": [high - mean],
                "arrayminus": [mean - low],
                "visible": known,
                "thickness": 2,
                "width": 5,
            },
            customdata=[[escaped(row.label), escaped(row.baseline or ""), bounds]],
            hovertemplate="%{customdata[0]}<br>%{x:+.2f} to %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        )
    figure.add_vline(0, line={"color": GREY, "dash": "dot", "width": 1.25}, layer="below")
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickvals=[*range(len(rows))],
        ticktext=labels,
        showgrid=False,
    )
    return figure.update_layout(showlegend=False)


def accuracy_and_cost(comparison: Comparison) -> go.Figure | None:
    """The test score over what training costs, and the front of those that nothing beats in both.

    None where the cost of a row is not known.
    """
    costs = [row.operations / 1e12 for row in comparison.rows if row.operations]
    if len(costs) < len(comparison.rows):
        return None
    look = styles(comparison)
    figure = blank("multiply-adds of a training (10¹²)", f"test {comparison.task.title} (%)")
    for data in data_sets(comparison.groups):
        points = [
            (cost, 100 * row.score)
            for group, row, cost in zip(comparison.groups, comparison.rows, costs)
            if group.data == data
        ]
        x, y = zip(*front(points))
        line = {"color": GREY, "width": 1.25, "shape": "hv", "dash": "dot"}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
    for row, cost in zip(comparison.rows, costs):
        spread = 100 * (row.score_sd or 0)
        figure.add_scatter(
            x=[cost],
            y=[100 * row.score],
            legendgroup=row.label,
            mode="markers",
            marker={
                "color": look[row.label].colour,
                "size": 11,
                "symbol": MARKS[look[row.label].stroke],
                "line": {"width": 2, "color": look[row.label].colour},
            },
            error_y={"array": [spread], "visible": row.seeds > 1, "thickness": 1.5, "width": 4},
            customdata=[[escaped(row.label), f"± {spread:.2f} " if row.seeds > 1 else ""]],
            hovertemplate="%{customdata[0]}<br>%{y:.2f} %{customdata[1]}%<br>%{x:.3g} · 10¹²<extra></extra>",
        )
    places = ticks(min(costs), max(costs))
    ends = [log10(places[0]) - 0.02, log10(places[-1]) + 0.02]
    words = [f"{tick:g}" for tick in places]
    figure.update_xaxes(type="log", range=ends, tickvals=places, ticktext=words)
    return figure.update_layout(showlegend=False)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, from just below `low` to just above `high`."""
    decades = range(floor(log10(low)) - 1, floor(log10(high)) + 2)
    reach = high / low
    fine = (1, 1.5, 2, 3, 5, 7) if reach < 5 else (1, 2, 5)
    steps = fine if reach < 30 else (1, 3) if reach < 1e4 else (1,)
    every = [float(f"{step}e{decade}") for decade in decades for step in steps]
    first = max(tick for tick in every if tick <= low)
    last = min(tick for tick in every if tick >= high)
    return [tick for tick in every if first <= tick <= last]


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, score) those that no other beats in one without being beaten in the other, by cost."""
    best: list[tuple[float, float]] = []
    for price, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or score > best[-1][1]:
            best.append((price, score))
    return best


def rows_high(labels: Sequence[str], least: int) -> int:
    """Pixels for a row a label, each high enough for the lines of the longest."""
    lines = max(1 + label.count("<br>") for label in labels)
    return max(least, 20 * lines) * len(labels)


def wrapped(label: str) -> str:
    """A label in short lines, escaped for Plotly."""
    return "<br>".join(map(escaped, wrap(label, 20)))


def escaped(text: str) -> str:
    """A text as Plotly shows it: it reads tags, but knows no `&quot;`."""
    return escape(text, quote=False)


def blank(x: str, y: str = "", height: int = 420, title: str = "") -> go.Figure:
    """An empty figure in the house style, on whatever paper lies beneath."""
    figure = go.Figure()
    figure.update_layout(
        title={"text": escaped(title), "x": 0, "xref": "paper", "font": {"size": 14}},
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": 34 if title else 8, "b": 8},
        font=FONT,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"align": "left", "namelength": -1},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    axis = {"automargin": True, "gridcolor": FAINT, "linecolor": FAINT, "zeroline": False}
    figure.update_xaxes(title={"text": x, "standoff": 10, "font": FONT}, showline=True, **axis)
    return figure.update_yaxes(title={"text": y, "standoff": 12, "font": FONT}, **axis)
