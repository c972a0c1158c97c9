"""What a sweep over settings has shown, as pictures: a curve over one setting, a heat map over two."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import PurePath
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cohobate.analysis.comparison import Comparison
from cohobate.analysis.figures import DASHES, FONT, blank, escaped, styles, wrapped
from cohobate.analysis.groups import Group, differing
from cohobate.analysis.rows import Row
from cohobate.analysis.runs import shown

Point = tuple[Group, Row]


class Panel(NamedTuple):
    """cells: lines of rows. title: what they share; "" where there is nothing but the lines and columns."""

    title: str
    cells: list[list[Row]]


LINE, TITLE, UNDER = 44, 34, 110
"""Pixels in a heat map: of a line of cells, for the title of a panel, and below all of them."""


def figures(comparison: Comparison) -> dict[str, go.Figure]:
    """A figure for each method that was run over a grid of settings; its title names both."""
    drawn = {}
    for method, (points, values) in grids(comparison).items():
        if len(values) > 1:
            drawn[method] = heat_map(points, values)
        else:
            drawn[method] = curve(points, next(iter(values)), comparison)
    return drawn


def grids(comparison: Comparison) -> dict[str, tuple[list[Point], dict[str, list[Any]]]]:
    """For each method that was run over a grid of settings its points, and the values of each setting.

    A point has its group and row; one setting alone has three or more values, and all are numbers.
    """
    methods: dict[str, list[Point]] = defaultdict(list)
    for group, row in zip(comparison.groups, comparison.rows):
        methods[group.settings["method.name"]].append((group, row))
    found = {}
    for method, points in methods.items():
        keys = differing([group.settings for group, _ in points])
        values = {key: _values(points, key) for key in keys}
        if len(points) < 2 or prod(map(len, values.values())) != len(points):
            continue
        if len(keys) > 1 or (len(points) > 2 and all(map(_is_number, values[keys[0]]))):
            found[method] = points, values
    return found


def curve(points: Sequence[Point], key: str, comparison: Comparison) -> go.Figure:
    """The test score over the values of one setting; bars are ± one standard deviation."""
    points = sorted(points, key=lambda point: point[0].settings[key])
    figure = blank(escaped(key), f"test {comparison.task.title} (%)")
    style = styles(comparison)[points[0][0].label]
    spread = [100 * (row.score_sd or 0) for _, row in points]
    figure.add_scatter(
        x=[group.settings[key] for group, _ in points],
        y=[100 * row.score for _, row in points],
        error_y={"array": spread, "visible": any(spread), "thickness": 1.5, "width": 4},
        mode="lines+markers",
        line={"color": style.colour, "dash": DASHES["solid"], "width": 2.25},
        marker={"size": 8},
        customdata=[[escaped(group.label), f"± {s:.2f} " if s else ""] for (group, _), s in zip(points, spread)],
        hovertemplate="%{customdata[0]}<br>%{y:.2f} %{customdata[1]}%<extra></extra>",
    )  # fmt: skip
    return figure.update_layout(showlegend=False)


def heat_map(points: Sequence[Point], values: dict[str, list[Any]]) -> go.Figure:
    """The test score over two settings, a panel for every combination of the others.

    values: the values of each setting, in the order of axes: across, down, then the panels'.
    """
    across, down, *others = values
    columns, rows = ([*map(escaped, ticks(values[key]))] for key in (across, down))
    tables = panels(points, values)
    scores = [100 * row.score for _, row in points]
    high = len(tables) * (TITLE + LINE * len(rows))
    figure = make_subplots(
        rows=len(tables),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[escaped(table.title) for table in tables] if others else None,
        vertical_spacing=TITLE / (high - TITLE),
    )
    for number, table in enumerate(tables, start=1):
        figure.add_heatmap(
            z=[[100 * row.score for row in line] for line in table.cells],
            x=columns,
            y=rows,
            text=[[told(row).replace("\n", "<br>") for row in line] for line in table.cells],
            texttemplate="%{text}",
            hovertext=[[escaped(row.label) for row in line] for line in table.cells],
            hovertemplate="%{hovertext}<br>%{z:.2f} %<extra></extra>",
            colorscale=[[0, "rgba(0,114,178,0.06)"], [1, "rgba(0,114,178,0.62)"]],
            zmin=min(scores),
            zmax=max(scores),
            showscale=False,
            xgap=2,
            ygap=2,
            row=number,
            col=1,
        )
    house = blank("", height=high + UNDER)
    figure.update_layout(
        {k: v for k, v in house.layout.to_plotly_json().items() if "axis" not in k}
    )
    figure.update_layout(margin_t=TITLE if others else 8)
    figure.update_annotations(font=FONT)
    axis = {"type": "category", "automargin": True, "showgrid": False, "zeroline": False}
    figure.update_xaxes(**axis)
    figure.update_yaxes(title={"text": wrapped(down), "font": FONT}, autorange="reversed", **axis)
    return figure.update_xaxes(
        title={"text": escaped(across), "font": FONT}, row=len(tables), col=1
    )


def panels(points: Sequence[Point], values: dict[str, list[Any]]) -> list[Panel]:
    """The rows of a grid: across and down the first two settings, a panel for each choice of the others."""
    columns, rows, *choices = values.values()
    places = {_place(group, values): row for group, row in points}
    names = [[f"{_last(key)} = {text}" for text in ticks(values[key])] for key in [*values][2:]]
    return [
        Panel(
            "  ".join(named[at] for named, at in zip(names, panel)),
            [[places[(x, y, *panel)] for x, _ in enumerate(columns)] for y, _ in enumerate(rows)],
        )
        for panel in product(*(range(len(each)) for each in choices))
    ]


def _values(points: Sequence[Point], key: str) -> list[Any]:
    """The different values of a setting: rising where they are numbers, else as they come."""
    found = [group.settings.get(key) for group, _ in points]
    unique = [value for k, value in enumerate(found) if value not in found[:k]]
    if all(map(_is_number, unique)):
        return sorted(unique)
    return sorted(unique, key=_natural)


def _natural(value: Any) -> list[Any]:
    """A key by which resnet8 comes before resnet20: text and numbers by turns."""
    parts = re.split(r"(\d+)", shown(value))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _place(group: Group, values: dict[str, list[Any]]) -> tuple[int, ...]:
    """Where in the values of each setting those of a group stand."""
    return tuple(every.index(group.settings.get(key)) for key, every in values.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def told(row: Row) -> str:
    """A score, and its spread over seeds in a second line."""
    spread = f"\n± {100 * row.score_sd:.1f}" if row.score_sd else ""
    return f"{100 * row.score:.1f}{spread}"


def _last(key: str) -> str:
    return key.split(".")[-1]


def ticks(values: Sequence[Any]) -> list[str]:
    """Values as ticks: run files and folders by their last two names, or by as many as tell them apart."""
    texts = [shown(value) or "none" for value in values]
    paths = [PurePath(text.removesuffix(".toml")).parts for text in texts]
    for count in range(2, max(2, *map(len, paths)) + 1):
        names = [str(PurePath(*path[-count:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    return texts
