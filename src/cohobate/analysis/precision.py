"""Precision over recall: a line a class, and their mean."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import plotly.graph_objects as go
from matplotlib.axes import Axes

from cohobate.analysis.figures import DASHES, GREY, Style, blank, escaped, looks, wrapped
from cohobate.analysis.paper import plain

NAMED = 10
"""Classes that have a look and a name in the legend, at most; of more, each line is faint."""


class Line(NamedTuple):
    """Precision at equal steps of recall from 0 to 1, and how it is drawn."""

    name: str
    style: Style
    precision: list[float]
    faint: bool = False

    @property
    def recall(self) -> list[float]:
        return [place / (len(self.precision) - 1) for place in range(len(self.precision))]

    @property
    def title(self) -> str:
        return f"{self.name} {100 * fmean(self.precision):.1f} %"


def lines(curves: Sequence[Sequence[float]], names: Sequence[str]) -> list[Line]:
    """Of the precision of each class, which is empty where there is nothing of it."""
    there = {name: [*curve] for name, curve in zip(names, curves) if curve}
    many = len(there) > NAMED
    styles = looks(there)
    every = [Line(name, styles[name], curve, many) for name, curve in there.items()]
    if len(every) > 1:
        mean = [fmean(values) for values in zip(*there.values())]
        every.append(Line("mean", Style(GREY, "solid"), mean))
    return every


def interactive(curves: Sequence[Sequence[float]], names: Sequence[str]) -> go.Figure:
    """The lines in Plotly, for a page."""
    figure = blank("recall", "precision", height=340)
    for line in lines(curves, names):
        colour = line.style.tint(0.35) if line.faint else line.style.colour
        figure.add_scatter(
            x=line.recall,
            y=line.precision,
            mode="lines",
            name=wrapped(line.title),
            showlegend=not line.faint,
            line={
                "color": colour,
                "dash": DASHES[line.style.stroke],
                "width": 1 if line.faint else 2.25,
            },
            hovertemplate=f"{escaped(line.name)}<br>recall %{{x:.2f}}: %{{y:.3f}}<extra></extra>",
        )
    return figure.update_xaxes(range=[0, 1.01]).update_yaxes(range=[0, 1.02])


def printed(axes: Axes, curves: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    """The lines in Matplotlib, for a file."""
    for line in lines(curves, names):
        axes.plot(
            line.recall,
            line.precision,
            color=line.style.colour,
            linestyle=line.style.stroke,
            alpha=0.35 if line.faint else 1,
            linewidth=0.8 if line.faint else 1.6,
            label=None if line.faint else plain(line.title, 32),
        )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False)
