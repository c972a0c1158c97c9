"""Boxes as pictures: what is told apart, and that it is drawn where it is."""

from math import isnan

import numpy as np
import pytest
import torch

from cohobate.analysis.boxes import PENS, drawn, f1, marks, precision_recall, sure, truths
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
        ("found", LEFT, "cat 0.90"),
        ("false", MIDDLE, "cat 0.70"),
    ]  # what is found of a crowd is neither
    assert [mark.kind for mark in marks(IMAGE, NAMES)] == ["found", "false", "found"]
    assert [mark.words for mark in truths(IMAGE, NAMES)] == ["cat", "$dog_", "$dog_"]
    assert f1(marks(sure(IMAGE), NAMES)) == pytest.approx(2 / (2 + 1 + 1))
    assert isnan(f1(marks(seen([], []), NAMES)))


def test_boxes_are_drawn_where_they_are_in_strokes_of_their_own():
    picture = drawn(torch.ones(3, 30, 45), IMAGE.size, marks(sure(IMAGE), NAMES)[:2])
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
    falling = np.linspace(1, 0, 101)
    nothing = np.full(101, np.nan)
    figure = precision_recall(np.stack([falling, nothing, falling / 2]), ["<b>", "newt", "dog"])
    names = [line.name for line in figure.data]
    assert names == ["&lt;b&gt; 50.0 %", "dog 25.0 %", "mean 37.5 %"]
    assert figure.data[2].y == pytest.approx(0.75 * falling)
    alone = precision_recall(falling[None], ["cat"])
    assert [line.name for line in alone.data] == ["cat 50.0 %"]
