"""Boxes as people see them: what is found, missed and false in an image, and precision over recall."""

from collections.abc import Sequence
from html import escape
from math import ceil
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from PIL import Image
from torch import Tensor

from cohobate.analysis.figures import DASHES, GREY, Style, blank, looks, wrapped
from cohobate.analysis.paper import plain
from cohobate.boxwise import IGNORED, Array, Seen, matches


class Pen(NamedTuple):
    """A colour, and a stroke as Matplotlib calls it: who confuses the one is told by the other."""

    colour: str
    stroke: str


PENS = {
    "truth": Pen("#009E73", "solid"),
    "found": Pen("#0072B2", "solid"),
    "missed": Pen("#E69F00", "dashed"),
    "false": Pen("#D55E00", "dotted"),
}
"""How boxes are drawn, after Okabe and Ito: all of the truth; and, of what a network says, those that
are right, those of the truth that none is of, and those that are of nothing."""
SURE = 0.5
"""The score from which a box is shown."""
SMALLEST, DOTS_PER_INCH = 480, 100
"""Pixels of the long side of a picture, at least; an image of fewer is drawn so many times larger."""


class Mark(NamedTuple):
    """A box to draw: which of `PENS`, its corners in pixels of the file, and what is written on it."""

    kind: str
    corners: list[float]
    words: str = ""


def sure(image: Seen, least: float = SURE) -> Seen:
    """The image with those boxes alone whose score is `least` or more."""
    shown = image.scores >= least
    return image._replace(
        found=image.found[shown], scores=image.scores[shown], kinds=image.kinds[shown]
    )


def truths(image: Seen, names: Sequence[str]) -> list[Mark]:
    """All boxes that are in an image, crowds among them."""
    rows = zip(image.boxes.tolist(), image.labels.tolist())
    return [Mark("truth", corners, names[int(label)]) for corners, label in rows]


def marks(image: Seen, names: Sequence[str]) -> list[Mark]:
    """What is found, missed and false in an image; what is of a crowd is none of them.

    A box is right as VOC has it, see `boxwise.matches`.
    """
    matched = matches(image).tolist()
    rows = enumerate(zip(image.boxes.tolist(), image.labels.tolist(), image.crowd.tolist()))
    missed = [
        Mark("missed", corners, names[int(label)])
        for place, (corners, label, crowd) in rows
        if place not in matched and not crowd
    ]
    said = zip(matched, image.found.tolist(), image.kinds.tolist(), image.scores.tolist())
    found = [
        Mark("found" if truth >= 0 else "false", corners, f"{names[kind]} {score:.2f}")
        for truth, corners, kind, score in said
        if truth != IGNORED
    ]
    return [*missed, *found]


def f1(found: Sequence[Mark]) -> float:
    """The harmonic mean of precision and recall of `marks`; not a number where there are none."""
    count = {kind: sum(mark.kind == kind for mark in found) for kind in PENS}
    every = 2 * count["found"] + count["missed"] + count["false"]
    return 2 * count["found"] / every if every else float("nan")


def drawn(picture: Tensor, size: tuple[int, int], found: Sequence[Mark]) -> Image.Image:
    """An image (3, H, W) in [0, 1] with boxes on it.

    size: height and width of its file, in whose pixels the boxes are.
    """
    high, wide = picture.shape[1:]
    zoom = max(1, ceil(SMALLEST / max(high, wide)))
    figure = Figure((zoom * wide / DOTS_PER_INCH, zoom * high / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    canvas, axes = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    pixels = picture.float().clamp(0, 1).movedim(0, -1).cpu().numpy()
    axes.imshow(pixels, extent=(0, size[1], size[0], 0), aspect="auto", interpolation="nearest")
    halo = [Stroke(linewidth=3.5, foreground="white"), Normal()]
    for kind, (left, top, right, bottom), words in found:
        colour, stroke = PENS[kind]
        frame = Rectangle((left, top), right - left, bottom - top)
        frame.set(fill=False, edgecolor=colour, linestyle=stroke, linewidth=2, path_effects=halo)
        axes.add_patch(frame)
        above = top > 0.04 * size[0]
        ink = {"color": "white", "fontsize": 6.5, "va": "bottom" if above else "top"}
        ground = {"facecolor": colour, "edgecolor": "none", "pad": 1}
        axes.text(left, top, plain(words), clip_on=True, bbox=ground, **ink)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def precision_recall(curves: Array, names: Sequence[str]) -> go.Figure:
    """A line a class, and their mean in grey, of what `boxwise.curves` gives: (classes, points)."""
    figure = blank("recall", "precision")
    there = {name: line for name, line in zip(names, curves) if not np.isnan(line).any()}
    styles = looks(there)
    lines = [(name, styles[name], line) for name, line in there.items()]
    if len(lines) > 1:
        lines.append(("mean", Style(GREY, "solid"), np.mean([*there.values()], 0)))
    for name, style, line in lines:
        figure.add_scatter(
            x=np.linspace(0, 1, len(line)),
            y=line,
            mode="lines",
            name=f"{wrapped(name)} {100 * line.mean():.1f} %",
            line={"color": style.colour, "dash": DASHES[style.stroke], "width": 2.25},
            hovertemplate=f"{escape(name)}<br>recall %{{x:.2f}}: %{{y:.3f}}<extra></extra>",
        )
    return figure.update_xaxes(range=[0, 1.01]).update_yaxes(range=[0, 1.02])
