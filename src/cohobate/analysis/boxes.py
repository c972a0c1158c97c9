"""Boxes as people see them: what is found, missed and false in an image."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, ClassVar, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from PIL import Image
from torch import Tensor

from cohobate import boxwise
from cohobate.analysis.paper import plain
from cohobate.analysis.view import View
from cohobate.boxwise import IGNORED, Seen, matches
from cohobate.core import Batch
from cohobate.data.framing import alone


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


def said(image: Seen, names: Sequence[str]) -> list[Mark]:
    """All boxes that were found in an image, right or not."""
    rows = zip(image.found.tolist(), image.kinds.tolist(), image.scores.tolist())
    return [Mark("found", corners, f"{names[kind]} {score:.2f}") for corners, kind, score in rows]


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
    found = [
        mark if truth >= 0 else mark._replace(kind="false")
        for truth, mark in zip(matched, said(image, names))
        if truth != IGNORED
    ]
    return [*missed, *sorted(found, key=lambda mark: mark.kind)]  # what is right lies on top


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
    halo = [Stroke(linewidth=4.5, foreground="white"), Normal()]
    for kind, (left, top, right, bottom), words in found:
        colour, stroke = PENS[kind]
        frame = Rectangle((left, top), right - left, bottom - top)
        frame.set(fill=False, edgecolor=colour, linestyle=stroke, linewidth=3, path_effects=halo)
        axes.add_patch(frame)
        above = top > 0.04 * size[0]
        ink = {"color": "white", "fontsize": 17, "va": "bottom" if above else "top"}
        ground = {"facecolor": colour, "edgecolor": "none", "pad": 1}
        axes.text(left, top, plain(words), clip_on=True, bbox=ground, **ink)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


class BoxView(View):
    """Boxes with a class each; those with a score below `SURE` are not shown."""

    mark: ClassVar[str] = "F1"
    table: ClassVar[str] = "boxes.csv"
    side: ClassVar[int] = 480  # shown at half of that, and sharp where a page is made larger

    @property
    def headings(self) -> list[str]:
        return ["class", "score", "left", "top", "right", "bottom"]

    @property
    def legend(self) -> dict[str, str]:
        return {f"{kind}, {pen.stroke}": pen.colour for kind, pen in PENS.items()}

    def batch(self, image: Tensor, network: Any) -> Batch:
        return alone(image, network.size)

    def answers(self, network: Any, batch: Batch, **shown: Any) -> list[Seen]:
        """What is found in each image."""
        return boxwise.look(network, batch)

    def worth(self, batch: Batch, row: int, answer: Seen) -> float:
        """The harmonic mean of precision and recall of the boxes that are shown."""
        return f1(marks(sure(answer), self.names))

    def panels(self, batch: Batch, row: int, answer: Seen) -> dict[str, Image.Image]:
        found = marks(sure(answer), self.names)
        pale = 0.5 + 0.5 * self._whole(batch, row).mean(0, keepdim=True).expand(3, -1, -1)
        return {
            "image": self._drawn(batch, row, answer, []),
            "truth": self._drawn(batch, row, answer, truths(answer, self.names)),
            "prediction": self._drawn(
                batch, row, answer, [mark for mark in found if mark.kind != "missed"]
            ),
            "error": drawn(pale, answer.size, [mark for mark in found if mark.kind != "found"]),
        }

    def picture(self, batch: Batch, row: int, answer: Seen) -> Image.Image:
        """The image with its boxes."""
        return self._drawn(batch, row, answer, said(sure(answer), self.names))

    def cells(self, batch: Batch, row: int, answer: Seen) -> list[list[str]]:
        """A line a box, in pixels of the file."""
        answer = sure(answer)
        rows = zip(answer.kinds.tolist(), answer.scores.tolist(), answer.found.tolist())
        return [
            [self.names[int(kind)], f"{score:.4f}", *(f"{edge:.1f}" for edge in corners)]
            for kind, score, corners in rows
        ]

    def curves(self, answers: Iterable[Seen]) -> list[list[float]]:
        found = boxwise.curves([*answers], len(self.names))
        return [[] if np.isnan(line).any() else line.tolist() for line in found]

    def _whole(self, batch: Batch, row: int) -> Tensor:
        """The image without its padding."""
        high, wide = batch.targets[row]["size"].tolist()
        return batch.images[row, :, :high, :wide]

    def _drawn(self, batch: Batch, row: int, answer: Seen, found: Sequence[Mark]) -> Image.Image:
        return drawn(self._whole(batch, row), answer.size, found)
