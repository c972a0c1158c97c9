"""Boxes as pictures: what is told apart, and that it is drawn where it is."""

from math import isnan

import numpy as np
import pytest
import torch

from cohobate.analysis import precision
from cohobate.analysis.boxes import PENS, BoxView, drawn, f1, marks, sure, truths
from cohobate.analysis.paper import grid
from cohobate.boxwise import Seen

NAMES = ["cat", "$dog_"]


def seen(truth, found, crowd=()):
    """truth: (box, class). found: (box, class, score), by falling score."""
    boxes = torch.tensor([row[0] for row in truth], dtype=torch.float32).view(-1, 4)
    return Seen(
        id=0,
        size=(60, 90),
        boxes=boxes,
        labels=torch.tensor([row[1] for row in truth], dtype=torch.int64),
        area=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        crowd=torch.tensor([place in crowd for place in range(len(truth))], dtype=torch.bool),
        found=torch.tensor([row[0] for row in found], dtype=torch.float32).view(-1, 4),
        scores=torch.tensor([row[2] for row in found]),
        kinds=torch.tensor([row[1] for row in found], dtype=torch.int64),
    )


LEFT, MIDDLE, RIGHT = ([x, 20.0, x + 20, 50.0] for x in (5.0, 35.0, 65.0))
IMAGE = seen(
    [(LEFT, 0), (MIDDLE, 1), (RIGHT, 1)],
    [(LEFT, 0, 0.9), (RIGHT, 1, 0.8), (MIDDLE, 0, 0.7), (MIDDLE, 1, 0.3)],
    crowd=[2],
)


def test_what_is_found_missed_and_false_is_told_apart():
    assert marks(sure(IMAGE), NAMES) == [
        ("missed", MIDDLE, "$dog_"),
        ("false", MIDDLE, "cat 0.70"),
        ("found", LEFT, "cat 0.90"),
    ]  # what is found of a crowd is neither
    assert [mark.kind for mark in marks(IMAGE, NAMES)] == ["false", "found", "found"]
    assert [mark.words for mark in truths(IMAGE, NAMES)] == ["cat", "$dog_", "$dog_"]
    assert f1(marks(sure(IMAGE), NAMES)) == pytest.approx(2 / (2 + 1 + 1))
    assert isnan(f1(marks(seen([], []), NAMES)))


def test_boxes_are_drawn_where_they_are_in_strokes_of_their_own():
    picture = drawn(torch.ones(3, 30, 45), IMAGE.size, marks(sure(IMAGE), NAMES)[::2])
    assert max(picture.size) >= 480 and picture.width / picture.height == pytest.approx(1.5)
    pixels, scale = np.asarray(picture).astype(int), picture.width / 90

    def inked(kind, side):
        """Which pixels of a side of a box, away from its words, are of a pen."""
        colour = np.array([*bytes.fromhex(PENS[kind].colour[1:])])
        row = pixels[round(side * scale) + np.arange(-2, 3)]
        return (np.abs(row - colour).sum(-1) < 60).any(0)

    solid, broken = inked("found", 50), inked("missed", 50)
    along = solid[round(6 * scale) : round(24 * scale)]
    gaps = broken[round(36 * scale) : round(54 * scale)]
    assert along.all() and 0.3 < gaps.mean() < 0.95
    assert not solid[round(30 * scale) :].any() and not broken[: round(30 * scale)].any()
    assert len({pen.colour for pen in PENS.values()}) == len(PENS)
    assert len({PENS[kind].stroke for kind in ("found", "missed", "false")}) == 3


def test_precision_over_recall_has_a_line_a_class_and_their_mean():
    falling = [1 - step / 100 for step in range(101)]
    half = [value / 2 for value in falling]
    figure = precision.interactive([falling, [], half], ["<b>", "newt", "dog"])
    assert [line.name for line in figure.data] == ["&lt;b&gt; 50.0 %", "dog 25.0 %", "mean 37.5 %"]
    assert figure.data[2].y == pytest.approx([0.75 * value for value in falling])
    assert figure.data[0].x == pytest.approx(np.linspace(0, 1, 101))
    assert [line.title for line in precision.lines([falling], ["cat"])] == ["cat 50.0 %"]
    many = precision.interactive([falling] * 30, [str(number) for number in range(30)])
    assert [line.name for line in many.data if line.showlegend] == ["mean 50.0 %"]
    figure, (axes,) = grid(1)
    precision.printed(axes, [falling, half], ["_cat", "$dog"])
    assert len(axes.get_legend().get_texts()) == 3


class Finder(torch.nn.Module):
    """Finds one cat in the upper left quarter of every image, and is not sure of a dog."""

    size = 64

    def detect(self, images, sizes):
        return [
            {
                "boxes": torch.tensor([[0.0, 0.0, wide / 2, high / 2], [1.0, 1.0, 9.0, 9.0]]),
                "scores": torch.tensor([0.75, 0.25]),
                "labels": torch.tensor([0, 1]),
            }
            for high, wide in sizes.tolist()
        ]


def test_a_file_is_looked_at_and_its_boxes_are_told_in_its_own_pixels():
    view = BoxView(NAMES)
    image = torch.full((3, 100, 200), 255, dtype=torch.uint8)
    batch = view.batch(image, Finder())
    assert batch.images.shape == (1, 3, 32, 64)
    (answer,) = view.answers(Finder(), batch)
    assert view.cells(batch, 0, answer) == [["cat", "0.7500", "0.0", "0.0", "100.0", "50.0"]]
    assert len(view.headings) == 6
    picture = view.picture(batch, 0, answer)
    assert picture.width == 2 * picture.height
    panels = view.panels(batch, 0, answer)
    assert {panel.size for panel in panels.values()} == {picture.size}
    truth = answer._replace(
        boxes=torch.tensor([[0.0, 0.0, 100.0, 52.0]]), labels=torch.tensor([0]),
        area=torch.tensor([5200.0]), crowd=torch.tensor([False]),
    )  # fmt: skip
    assert view.worth(batch, 0, truth) == 1 and view.worth(batch, 0, answer) == 0
    assert view.curves([truth]) == [[1.0] * 101, []]
