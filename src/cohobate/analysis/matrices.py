"""Portraits of networks as heat maps, in Plotly: confusion, similarity, temperature.

Plotly reads a little HTML in every text, so whatever a user has named is escaped first.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from cohobate.analysis.figures import blank, escaped, rows_high, wrapped
from cohobate.analysis.portrait import Portrait
from cohobate.analysis.similarity import Similarity
from cohobate.analysis.softness import Softness

NAMED = 12
"""Classes that fit beside a matrix by name."""
LONGEST = 12
"""Characters of a name beside a matrix."""
MOST = 200
"""Classes of a matrix, at most: a page of more would be too large to open."""
BLUE = "rgba(0,114,178,{})"
STEPS = [(0, 0.03), (0.005, 0.14), (0.05, 0.34), (0.3, 0.5), (1, 0.66)]
"""Of the colours of a confusion, in which a rare mistake should still be seen: share, opacity."""


def confusion(portrait: Portrait, names: Sequence[str]) -> go.Figure:
    """Of the images of each class (down), the share that is taken for each class (across)."""
    counts = portrait.confusion.counts
    totals = [sum(line) for line in counts]
    shares = [
        [100 * n / total if total else None for n in line] for line, total in zip(counts, totals)
    ]
    named = len(names) <= NAMED
    full = [wrapped(name) for name in names]
    figure = blank("taken for", "class", height=380)
    figure.add_heatmap(
        z=[[None if z is None else round(z, 3) for z in line] for line in shares],
        x=full,
        y=full,
        text=[[n or "" for n in line] for line in counts] if named else None,
        texttemplate="%{text}" if named else None,
        customdata=counts,
        hovertemplate="%{y}, taken for %{x}<br>%{z:.2f} % of the class, %{customdata} images<extra></extra>",
        colorscale=[[at, BLUE.format(opacity)] for at, opacity in STEPS],
        zmin=0,
        zmax=100,
        showscale=False,
        xgap=1 if named else 0,
        ygap=1 if named else 0,
    )
    axis: dict[str, Any] = {"type": "category", "showgrid": False, "ticks": ""}
    axis |= {"showticklabels": named, "tickfont": {"size": 11}}
    axis |= {"tickvals": full, "ticktext": [escaped(shorten(name)) for name in names]}
    figure.update_xaxes(tickangle=-90 if max(map(len, names)) > 2 else 0, **axis)
    return figure.update_yaxes(autorange="reversed", **axis)


def shorten(name: str) -> str:
    """A name in one short line."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def similarity(found: Similarity) -> go.Figure:
    """CKA of each stage of one network (down) with each of the other (across)."""
    values = found.values
    across = [f"stage {place}" for place, _ in enumerate(values[0], start=1)]
    down = [f"stage {place}" for place, _ in enumerate(values, start=1)]
    figure = blank("", height=60 + 46 * len(down))
    figure.add_heatmap(
        z=values,
        x=across,
        y=down,
        text=[["–" if value is None else f"{value:.2f}" for value in line] for line in values],
        texttemplate="%{text}",
        hovertemplate="%{y} and %{x}: CKA %{z:.3f}<extra></extra>",
        colorscale=[[0, BLUE.format(0.04)], [1, BLUE.format(0.62)]],
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(type="category", showgrid=False)
    return figure.update_yaxes(type="category", showgrid=False, autorange="reversed")


def softness(portraits: Sequence[Portrait]) -> dict[str, go.Figure]:
    """Three heat maps, with a line a run that has a teacher, over the temperature."""
    pairs = [(each.label, each.softness) for each in portraits if each.softness]
    kinds = ("kl", "teacher", "student")
    return {f"softness-{number}": _softness(pairs, name) for number, name in enumerate(kinds)}


def _softness(pairs: Sequence[tuple[str, Softness]], name: str) -> go.Figure:
    labels = [wrapped(found.of(label)) for label, found in pairs]
    table = [getattr(found, name) for _, found in pairs]
    figure = blank("temperature", height=90 + rows_high(labels, least=34))
    figure.add_heatmap(
        z=table,
        x=[f"{t:g}" for t in pairs[0][1].temperatures],
        y=labels,
        text=[[f"{value:#.3g}" for value in line] for line in table],
        texttemplate="%{text}",
        hovertemplate="%{y}<br>T = %{x}: %{z:.4f} nats<extra></extra>",
        colorscale=[[0, BLUE.format(0.04)], [1, BLUE.format(0.62)]],
        zmin=0,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(type="category", showgrid=False)
    return figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
