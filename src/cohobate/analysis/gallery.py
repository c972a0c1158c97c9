"""Portraits of networks as pictures, in Plotly: a panel each, or all in one, each in its colour.

Plotly reads a little HTML in every text, so whatever a user has named is escaped first.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import plotly.graph_objects as go

from cohobate.analysis import matrices, precision
from cohobate.analysis.figures import (
    DASHES,
    FAINT,
    FONT,
    GREY,
    PALETTE,
    Style,
    blank,
    escaped,
    wrapped,
)
from cohobate.analysis.heads import STUDENT
from cohobate.analysis.portrait import Analysis, Histogram, Portrait

SYMBOLS = {
    "●": "circle",
    "■": "square",
    "◆": "diamond",
    "▲": "triangle-up",
    "▼": "triangle-down",
    "✚": "cross",
    "★": "star",
}
"""What a page and Plotly call them. As many as share no divisor with the colours: so many more looks."""


class Dot(NamedTuple):
    """A class's look on the map."""

    colour: str
    symbol: str


def dots(classes: Sequence[str]) -> dict[str, Dot]:
    """Each class's look: colour and symbol change from class to class, so that nobody needs both."""
    return dict(zip(classes, map(Dot, cycle(PALETTE), cycle(SYMBOLS))))


def figures(analysis: Analysis) -> dict[str, go.Figure]:
    """Every figure of an analysis under the name of its place in the page."""
    drawn: dict[str, go.Figure] = {}
    wanted, portraits = analysis.only, analysis.portraits
    for number, run in enumerate(analysis.seen):
        if run.curves:
            drawn[f"precision-{number}"] = precision.interactive(run.curves, analysis.classes)
    if not portraits:
        return drawn
    for number, portrait in enumerate(portraits):
        if "calibration" in wanted:
            style = analysis.styles[portrait.label]
            drawn[f"reliability-{number}"] = reliability(portrait, style)
        if "confusion" in wanted and len(analysis.names) <= matrices.MOST:
            drawn[f"confusion-{number}"] = matrices.confusion(portrait, analysis.names)
        if portrait.points:
            drawn[f"map-{number}"] = class_map(portrait, analysis.classes)
    for number in range(len(analysis.temperatures) if "calibration" in wanted else 0):
        drawn[f"entropy-{number}"] = entropies(analysis, number)
        drawn[f"confidence-{number}"] = confidences(analysis, number)
    if "features" in wanted:
        drawn["norms"] = norms(analysis)
    if "robustness" in wanted:
        drawn["robustness"] = robustness(analysis)
    for number, portrait in enumerate(analysis.headed):
        drawn[f"heads-{number}"] = heads(portrait, analysis.styles[portrait.label])
    for number, similarity in enumerate(analysis.similarities):
        drawn[f"similarity-{number}"] = matrices.similarity(similarity)
    if any(portrait.softness for portrait in portraits):
        drawn |= matrices.softness(portraits)
    return drawn


def reliability(portrait: Portrait, style: Style) -> go.Figure:
    """Accuracy over confidence as bars, hatched what lies between the two; below, where the images are."""
    figure = blank("confidence", "accuracy", height=340)
    bars = portrait.reliability
    width, total = 1 / len(bars.count), sum(bars.count)
    table = enumerate(zip(bars.count, bars.confidence, bars.accuracy))
    found = [
        (width * (m + 0.5), n, c, a) for m, (n, c, a) in table if c is not None and a is not None
    ]
    x = [centre for centre, *_ in found]
    told = {
        "customdata": [[n, c, a] for _, n, c, a in found],
        "hovertemplate": "%{customdata[0]} images<br>confidence %{customdata[1]:.3f}"
        "<br>accuracy %{customdata[2]:.3f}<extra></extra>",
        "width": 0.94 * width,
    }
    figure.add_bar(x=x, y=[a for *_, a in found], marker_color=style.tint(0.65), **told)
    figure.add_bar(
        x=x,
        base=[min(c, a) for _, _, c, a in found],
        y=[abs(c - a) for _, _, c, a in found],
        marker={
            "color": "rgba(0,0,0,0)",
            "line": {"color": GREY, "width": 1},
            "pattern": {"shape": "/", "fgcolor": GREY, "size": 5, "solidity": 0.25},
        },
        **told,
    )
    figure.add_bar(
        x=x, y=[100 * n / total for _, n, _, _ in found], yaxis="y2", marker_color=GREY, **told
    )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip"
    )
    below = {"text": "images (%)", "standoff": 12, "font": FONT}
    side = {"gridcolor": FAINT, "zeroline": False, "automargin": True}
    figure.update_layout(
        barmode="overlay",
        yaxis={"domain": [0.39, 1], "range": [0, 1.02]},
        yaxis2={"domain": [0, 0.28], "title": below, "nticks": 3, **side},
    )
    return figure.update_xaxes(anchor="y2", range=[0, 1.01])


def entropies(analysis: Analysis, place: int) -> go.Figure:
    """The entropy of the predictions at the temperature at `place`, all runs in one."""
    spreads = [portrait.entropy[place] for portrait in analysis.portraits]
    return histograms(analysis, spreads, blank("entropy (nats)", "% of images", 260))


def confidences(analysis: Analysis, place: int) -> go.Figure:
    """The highest probability at the temperature at `place`, all runs in one."""
    spreads = [portrait.confidence[place] for portrait in analysis.portraits]
    return histograms(analysis, spreads, blank("highest probability", "% of images", 260))


def norms(analysis: Analysis) -> go.Figure:
    """The length of the features as a density: each run has bins of its own width."""
    figure = blank("length of the features", "density", height=320)
    spreads = [portrait.norms for portrait in analysis.portraits]
    return histograms(analysis, spreads, figure, density=True)


def histograms(
    analysis: Analysis, spreads: Sequence[Histogram], figure: go.Figure, *, density: bool = False
) -> go.Figure:
    """Adds a histogram a run, as the outline of its bars."""
    for portrait, spread in zip(analysis.portraits, spreads):
        style, edges = analysis.styles[portrait.label], spread.edges
        scale = 1 / (edges[1] - edges[0]) if density else 100
        bins = [
            [wrapped(portrait.label), f"{low:.3g} to {high:.3g}", f"{100 * share:.1f}"]
            for low, high, share in zip(edges, edges[1:], spread.shares)
        ]
        figure.add_scatter(
            x=[edges[0], *edges],
            y=[0, *(scale * share for share in spread.shares), 0],
            mode="lines",
            line={"shape": "hv", "color": style.colour, "dash": DASHES[style.stroke], "width": 1.75},
            fill="tozeroy",
            fillcolor=style.tint(0.12),
            legendgroup=portrait.label,
            customdata=[bins[0], *bins, bins[-1]],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}: %{customdata[2]} %<extra></extra>",
        )  # fmt: skip
    return figure.update_yaxes(rangemode="tozero")


def class_map(portrait: Portrait, classes: Sequence[str]) -> go.Figure:
    """Where t-SNE puts the images, a look a class; its axes mean nothing and are not drawn.

    A dot carries its class, and its image's place on the page's sheet of thumbnails.
    """
    figure = blank("", height=300)
    for place, (name, dot) in enumerate(dots(classes).items()):
        own = [(x, y, cell) for cell, (x, y, at) in enumerate(portrait.points) if at == place]
        figure.add_scatter(
            x=[x for x, _, _ in own],
            y=[y for _, y, _ in own],
            mode="markers",
            marker={"color": dot.colour, "symbol": SYMBOLS[dot.symbol], "size": 6, "opacity": 0.8},
            legendgroup=f"class {name}",
            customdata=[[wrapped(name), cell] for _, _, cell in own],
            hovertemplate="%{customdata[0]}<extra></extra>",
        )
    hidden = {"showgrid": False, "showticklabels": False, "showline": False}
    figure.update_yaxes(scaleanchor="x", **hidden)
    return figure.update_xaxes(title_text="", **hidden)


def robustness(analysis: Analysis) -> go.Figure:
    """Accuracy over the strength of the attack: FGSM solid, PGD dashed."""
    figure = blank("ε in 255ths", "accuracy (%)", height=380)
    symbols = dict(zip(DASHES, SYMBOLS.values()))
    for portrait in analysis.portraits:
        found, label = portrait.robustness, portrait.label
        if found is None:
            continue
        style = analysis.styles[label]
        for attack, dash, values in (("FGSM", "solid", found.fgsm), ("PGD", "dash", found.pgd)):
            figure.add_scatter(
                x=[255 * epsilon for epsilon in found.epsilons],
                y=[100 * value for value in values],
                mode="lines+markers",
                line={"color": style.colour, "dash": dash, "width": 2},
                marker={"size": 7, "symbol": symbols[style.stroke]},
                legendgroup=label,
                customdata=[[escaped(label), attack]] * len(values),
                hovertemplate="%{customdata[0]}, %{customdata[1]}<br>%{x:.3g}/255: %{y:.2f} %<extra></extra>",
            )
    return figure.update_yaxes(rangemode="tozero")


def heads(portrait: Portrait, style: Style) -> go.Figure:
    """A bar for the accuracy of each head on upright images, which stands at the right end of its line.

    A diamond is the accuracy of telling class and rotation at once.
    """
    scores = portrait.heads
    names = [escaped(score.name) for score in scores]
    figure = blank("accuracy (%)", height=70 + 26 * len(scores))
    main = [score.name == STUDENT for score in scores]
    figure.add_bar(
        y=names,
        x=[100 * score.accuracy for score in scores],
        orientation="h",
        marker={"color": [style.tint(0.9 if each else 0.4) for each in main]},
        hovertemplate="%{y}: %{x:.2f} %<extra></extra>",
    )
    figure.add_scatter(
        y=names,
        x=[128] * len(names),
        mode="text",
        text=[f"{100 * score.accuracy:.1f}" for score in scores],
        textposition="middle left",
        cliponaxis=False,
        hoverinfo="skip",
    )
    joint = [(name, s.joint) for name, s in zip(names, scores) if s.joint is not None]
    if joint:
        figure.add_scatter(
            y=[name for name, _ in joint],
            x=[100 * share for _, share in joint],
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 10,
                "color": style.colour,
                "line": {"width": 1.5, "color": "#ffffff"},
            },
            hovertemplate="%{y}, class and rotation: %{x:.2f} %<extra></extra>",
        )
    figure.update_layout(margin_l=92)  # that panels have their bars below each other
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=False)
    return figure.update_xaxes(range=[0, 128], tickvals=[0, 25, 50, 75, 100])
