"""Scores of segmenters, against counts made by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from cohobate.core import VOID, Batch
from cohobate.pixelwise import boundary_f, predict, segmentation


class Reader(nn.Module):
    """Says of every pixel the class that its red channel holds, in tenths."""

    num_classes, size = 3, 8

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images):
        self.seen.append(tuple(images.shape[-2:]))
        centres = torch.tensor([0.0, 0.1, 0.2])[:, None, None]
        return -200 * self.weight * (images[:, :1] - centres).abs()


def batch(label, truth):
    images = torch.as_tensor(label)[None, None].expand(1, 3, -1, -1) / 10
    return Batch(images, torch.as_tensor(truth)[None], torch.zeros(1, dtype=torch.long))


def test_iou_is_counted_over_all_images_and_void_left_out():
    random = np.random.default_rng(0)
    labels = [random.integers(0, 3, (8, 8)) for _ in range(3)]
    truths = [random.integers(0, 2, (8, 8)) for _ in range(3)]
    for truth in truths:
        truth[:2] = VOID
    scores = segmentation(Reader(), [batch(a, b) for a, b in zip(labels, truths)])
    ious = []
    for kind in range(3):
        both = either = 0
        for label, truth in zip(labels, truths):
            for a, b in zip(label.flat, truth.flat):
                if b != VOID:
                    both += a == kind and b == kind
                    either += a == kind or b == kind
        ious.append(both / either)
    assert scores["miou"] == pytest.approx(np.mean(ious))
    assert [scores[f"iou/{kind}"] for kind in range(3)] == pytest.approx(ious)
    right = np.mean(
        [a == b for x, y in zip(labels, truths) for a, b in zip(x.flat, y.flat) if b != VOID]
    )
    assert scores["accuracy"] == pytest.approx(right)


def test_a_class_that_is_nowhere_does_not_count():
    label = np.zeros((8, 8), dtype=np.int64)
    scores = segmentation(Reader(), [batch(label, label)])
    assert scores["miou"] == 1 and "iou/1" not in scores


def test_boundary_f_finds_shifted_outlines_within_the_tolerance():
    truth = np.zeros((200, 200), dtype=np.int64)
    truth[50:150, 50:150] = 1
    radius = round(0.0075 * np.hypot(200, 200))

    def slow(label):
        found = []
        for kind in (0, 1):
            edges = [
                (m == kind) & ~ndimage.binary_erosion(m == kind, np.ones((3, 3)), border_value=1)
                for m in (label, truth)
            ]
            square = np.ones((2 * radius + 1,) * 2)
            grown = [ndimage.binary_dilation(edge, square) for edge in edges]
            precision = (edges[0] & grown[1]).sum() / edges[0].sum()
            recall = (edges[1] & grown[0]).sum() / edges[1].sum()
            found.append(2 * precision * recall / max(precision + recall, 1e-12))
        return np.mean(found)

    for shift in (0, radius, radius + 3):
        label = np.roll(truth, shift, 1)
        own = boundary_f(torch.tensor(label), torch.tensor(truth), 3)
        assert float(own) == pytest.approx(slow(label), abs=1e-6)
    assert float(boundary_f(torch.tensor(truth), torch.tensor(truth), 3)) == pytest.approx(1)


def slow_boundary_f(label, truth, radius):
    """Pixel by pixel: void is of the class that is nearest, and near it nothing is false."""
    places = [*np.ndindex(truth.shape)]
    known = np.array([place for place in places if truth[place] != VOID])

    def filled(place):
        away = np.hypot(*(known - place).T)
        kinds = {int(truth[tuple(other)]) for other in known[away == away.min()]}
        assert len(kinds) == 1, "the middle of void should be between two pixels"
        return kinds.pop()

    def around(mask, place, reach):
        y, x = place
        return mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]

    whole = np.array([filled(place) for place in places]).reshape(truth.shape)
    scores = []
    for kind in range(3):
        edges, true = (
            np.array([m[p] == kind and (around(m, p, 1) != kind).any() for p in places])
            for m in (label, whole)
        )
        edges, true = edges.reshape(truth.shape), true.reshape(truth.shape)
        if not true.any():
            continue
        hits = [p for p in places if edges[p] and around(true, p, radius).any()]
        found = [p for p in places if true[p] and around(edges, p, radius).any()]
        strays = [p for p in places if edges[p] and p not in hits]
        false = [p for p in strays if (around(truth, p, radius) != VOID).all()]
        precision = len(hits) / max(len(hits) + len(false), 1)
        recall = len(found) / true.sum()
        scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return np.mean(scores)


@pytest.fixture(scope="module")
def ringed():
    """A square of class 1 in class 0, void four pixels wide around it; a spot of class 2, and void alone."""
    truth = np.zeros((24, 30), dtype=np.int64)
    truth[3:15, 3:15] = VOID
    truth[7:11, 7:11] = 1
    truth[18:21, 20:24] = 2
    truth[4:8, 22:26] = VOID
    return truth


def test_void_between_two_classes_is_no_edge_but_where_they_meet(ringed):
    middle = np.where(ringed == VOID, 0, ringed)
    middle[5:13, 5:13] = 1
    late = np.where(ringed == 2, 0, np.roll(middle, 4, 1))
    late[20:, 5:9] = 2
    for label in (middle, late):
        own = boundary_f(torch.tensor(label), torch.tensor(ringed), 3)
        assert float(own) == pytest.approx(slow_boundary_f(label, ringed, 1), abs=1e-6)
    assert float(boundary_f(torch.tensor(middle), torch.tensor(ringed), 3)) == pytest.approx(1)
    ground = torch.zeros(24, 30, dtype=torch.int64)
    assert float(boundary_f(ground, torch.tensor(ringed), 3)) == 0


def test_there_is_no_boundary_f_where_no_two_classes_meet(ringed):
    label, alone = np.where(ringed == 1, 1, 0), np.where(ringed == VOID, VOID, 0)
    scores = segmentation(Reader(), [batch(label, alone)])
    assert "boundary_f" not in scores and scores["miou"] == 1
    sharp = Reader()
    sharp.size = 24  # the short side of the images, which are then seen as they are
    both = segmentation(sharp, [batch(label, alone), batch(label, label)])
    assert both["boundary_f"] == pytest.approx(1)


def test_windows_flips_and_scales_agree_on_what_does_not_hang_on_them():
    label = np.repeat(np.repeat(np.array([[0, 1], [2, 1]]), 10, 0), 10, 1)
    images = batch(label, label).images
    whole = Reader()
    ways = [
        predict(whole, images),
        predict(Reader(), images, window=8),
        predict(Reader(), images, flip=True),
        predict(Reader(), images, scales=(1.0, 2.0)),
    ]
    assert whole.seen == [(8, 8)]
    near = Reader()
    ways.append(predict(near, images, window=6, stride=2))
    assert near.seen == [(6, 6)] * 4  # on 8 × 8 pixels, two along each side
    for way in ways:
        assert way.shape == (1, 3, 20, 20)
        assert (way.sum(1) - 1).abs().max() < 1e-5
        inner = way.argmax(1)[0].numpy()[[4, 4, 15, 15], [4, 15, 4, 15]]
        assert inner.tolist() == [0, 1, 2, 1]
