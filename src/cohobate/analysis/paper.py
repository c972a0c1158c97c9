"""Matplotlib in the house style: panels on white paper, with one legend, and names that are only text."""

from itertools import zip_longest
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cohobate.analysis.figures import GREY

BLUES = LinearSegmentedColormap.from_list("blues", ["#f7fafc", "#0072B2"])
DOTS_PER_INCH = 160
TALLEST = 65_000
"""Pixels that a file's side may have: Matplotlib refuses 2^16 of them."""


def dots_per_inch(figure: Figure) -> float:
    """How fine a figure is written: less so where a side would be too long."""
    return min(DOTS_PER_INCH, TALLEST / max(figure.get_size_inches()))


def grid(
    count: int, columns: int = 3, size: tuple[float, float] = (3.2, 3.2)
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in the house style, each of `size` inches."""
    across = min(count, columns)
    down = -(-count // across)
    figure = Figure((size[0] * across, size[1] * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False).flat
    panels = []
    for axes, number in zip_longest(places, range(count)):
        if number is None:
            axes.remove()
            continue
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
        axes.set_axisbelow(True)
        panels.append(axes)
    return figure, panels


def legend(figure: Figure, *panels: Axes, markerscale: float = 1) -> None:
    """One legend for the whole figure, from what is drawn in the panels, on paper added below."""
    drawn: dict[str, Any] = {}
    for axes in panels:
        drawn |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}
    if not drawn:
        return
    labels, handles = [*drawn], [*drawn.values()]
    widest = 0.7 + 0.09 * max(len(line) for label in labels for line in label.splitlines())
    across = min(len(labels), max(1, int(figure.get_figwidth() / widest)))
    lines = max(1 + label.count("\n") for label in labels) * -(-len(labels) // across)
    figure.set_figheight(figure.get_figheight() + 0.22 * lines)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=across, frameon=False, markerscale=markerscale
    )  # fmt: skip


def titled(axes: Axes, title: str) -> None:
    axes.set_title(plain(title, 32), loc="left", fontsize="medium")


def plain(text: str, width: int = 48) -> str:
    """A text in lines of `width` characters, that Matplotlib reads neither as mathematics nor as hidden."""
    text = fill(text, width).replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text
