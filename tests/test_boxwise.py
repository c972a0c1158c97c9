"""Scores of detectors, against average precision that is counted by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from cohobate.boxwise import IGNORED, Seen, curves, detection, matches, scores, seen
from cohobate.core import Batch


def image(place, truth=(), found=(), size=(400, 400)):
    """truth: (box, class[, crowd[, area]]). found: (box, class, score)."""
    rows = [(*row, *(False, None)[len(row) - 2 :]) for row in truth]
    found = sorted(found, key=lambda row: -row[2])
    boxes = torch.tensor([row[0] for row in rows], dtype=torch.float32).view(-1, 4)
    spans = (boxes[:, 2:] - boxes[:, :2]).prod(1).tolist()
    return Seen(
        id=place,
        size=size,
        boxes=boxes,
        labels=torch.tensor([row[1] for row in rows], dtype=torch.int64),
        area=torch.tensor([row[3] or span for row, span in zip(rows, spans)]),
        crowd=torch.tensor([row[2] for row in rows], dtype=torch.bool),
        found=torch.tensor([row[0] for row in found], dtype=torch.float32).view(-1, 4),
        scores=torch.tensor([row[2] for row in found]),
        kinds=torch.tensor([row[1] for row in found], dtype=torch.int64),
    )


def overlap(a, b, crowd=False):
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    common = max(across, 0) * max(down, 0)
    spans = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (spans[0] if crowd else sum(spans) - common)


def slow_ap(images, kind, threshold, low=0.0, high=1e10):
    """COCO's: each box takes the best truth that is left; crowds and other sizes are ignored."""
    rows, wanted = [], 0
    for each in images:
        own = [place for place in range(len(each.labels)) if each.labels[place] == kind]
        ignored = {
            place
            for place in own
            if each.crowd[place] or not low <= float(each.area[place]) <= high
        }
        wanted += len(own) - len(ignored)
        taken = set()
        for box, score, label in zip(each.found.tolist(), each.scores.tolist(), each.kinds):
            if label != kind:
                continue
            best, chosen = threshold, None
            for place in sorted(own, key=lambda place: place in ignored):
                if place in taken and not each.crowd[place]:
                    continue
                if chosen is not None and chosen not in ignored and place in ignored:
                    break
                here = overlap(box, each.boxes[place].tolist(), bool(each.crowd[place]))
                if here >= best:
                    best, chosen = here, place
            if chosen is not None:
                taken.add(chosen)
            span = (box[2] - box[0]) * (box[3] - box[1])
            if chosen in ignored or (chosen is None and not low <= span <= high):
                continue
            rows.append((score, chosen is not None))
    if not wanted:
        return None
    right, points = 0, []
    for place, (_, hit) in enumerate(sorted(rows, key=lambda row: -row[0]), start=1):
        right += hit
        points.append((right / wanted, right / place))
    return np.mean(
        [max([p for r, p in points if r >= t], default=0.0) for t in np.linspace(0, 1, 101)]
    )


def noisy(seed=0, count=12):
    """Images with truths of three classes and all sizes, found here and there, with crowds."""
    random = np.random.default_rng(seed)
    images = []
    for place in range(count):
        truth, found = [], []
        for _ in range(random.integers(0, 6)):
            side = random.choice([12.0, 24.0, 60.0, 130.0])
            x, y = random.uniform(0, 400 - side, 2)
            box = [x, y, x + side, y + side]
            kind = int(random.integers(0, 3))
            truth.append((box, kind, bool(random.random() < 0.15)))
            for _ in range(random.integers(0, 3)):
                moved = (np.array(box) + random.normal(0, side / 12, 4)).tolist()
                found.append((moved, kind if random.random() < 0.8 else 1, random.random()))
        for _ in range(random.integers(0, 3)):
            x, y = random.uniform(0, 340, 2)
            found.append(([x, y, x + 50, y + 50], int(random.integers(0, 3)), random.random()))
        images.append(image(place, truth, found))
    return images


def test_average_precision_is_cocos_of_all_overlaps_sizes_and_classes():
    images = noisy()
    said = scores(images, 4)  # of the last class there is nothing
    every = [0.5 + 0.05 * step for step in range(10)]
    table = np.array([[slow_ap(images, kind, t) for t in every] for kind in range(3)])
    assert said["map"] == pytest.approx(table.mean(), abs=1e-6)
    assert said["map50"] == pytest.approx(table[:, 0].mean(), abs=1e-6)
    assert said["map75"] == pytest.approx(table[:, 5].mean(), abs=1e-6)
    assert [said[f"ap/{kind}"] for kind in range(3)] == pytest.approx(table.mean(1), abs=1e-6)
    assert "ap/3" not in said
    assert 0.05 < said["map"] < said["map50"] < 0.95
    ranges = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
    for name, limits in ranges.items():
        rows = [slow_ap(images, kind, t, *limits) for kind in range(3) for t in every]
        expected = np.mean([row for row in rows if row is not None])
        assert said[f"map_{name}"] == pytest.approx(expected, abs=1e-6)


def test_curves_hold_the_precision_that_map50_is_the_mean_of():
    images = noisy(1)
    found = curves(images, 4)
    assert found.shape == (4, 101) and np.isnan(found[3]).all()
    assert np.nanmean(found) == pytest.approx(scores(images, 4)["map50"])
    assert (np.diff(found[:3], axis=1) <= 0).all()


def test_vocs_two_scores_of_a_case_worked_by_hand():
    square = [10.0, 10.0, 30.0, 30.0]
    far = [200.0, 200.0, 240.0, 240.0]
    images = [
        image(0, [(square, 0), (far, 0)], [(square, 0, 0.9), (square, 0, 0.8)]),  # one twice
        image(1, [(square, 0), (far, 0, True)], [(square, 0, 0.7), (far, 0, 0.95)]),  # a crowd
    ]
    # In order right, false, right, of three: recall 1/3, 1/3, 2/3; precision 1, 1/2, 2/3.
    said = scores(images, 1)
    assert said["voc_map"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert said["voc07_map"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # recall 0 to 0.3, to 0.6


def test_a_box_found_is_held_against_the_truth_that_it_covers_best():
    truth = [([0, 0, 20, 20], 0), ([0, 0, 20, 30], 0), ([50, 50, 70, 70], 1, True)]
    found = [
        ([0, 0, 20, 20], 0, 0.9),
        ([0, 0, 20, 21], 0, 0.8),  # covers the first better, which is taken
        ([50, 50, 70, 70], 1, 0.7),
        ([0, 0, 20, 30], 1, 0.6),  # of another class
    ]
    assert matches(image(0, truth, found)).tolist() == [0, -1, IGNORED, -1]
    assert matches(image(0, [], found)).tolist() == [-1] * 4


def test_what_is_perfect_empty_or_not_there():
    truth = [([10, 10, 90, 90], 0), ([100, 100, 350, 300], 1)]
    perfect = [
        image(0, truth, [(*row, 0.9) for row in truth]),
        image(1, [], []),  # a negative
    ]
    said = scores(perfect, 2)
    assert all(value == pytest.approx(1) for value in said.values())
    assert {"map_medium", "map_large"} <= {*said} and "map_small" not in said
    said = scores([image(0, truth), image(1)], 2)
    assert said["map"] == said["map50"] == said["voc_map"] == said["ap/0"] == 0
    worse = [perfect[0], image(1, [], [([0, 0, 50, 50], 0, 0.95)])]  # false on the negative
    assert scores(worse, 2)["ap/0"] == pytest.approx(0.5)
    said = scores([image(0, [], [([0, 0, 50, 50], 0, 0.95)])], 2)
    assert said == {"map": 0, "map50": 0, "map75": 0, "voc_map": 0, "voc07_map": 0}


class Finder(nn.Module):
    """Finds what the first pixels of the red channel say: boxes of 8 pixels, all of class 1."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.modes: list[bool] = []

    def detect(self, images, sizes):
        self.modes.append(self.training)
        assert sizes.shape == (len(images), 2)
        low = torch.tensor([[4.0, 2.0, 12.0, 10.0], [0.0, 0.0, 8.0, 8.0]])
        return [
            {"boxes": low, "scores": torch.tensor([0.3, 0.6]), "labels": torch.tensor([1, 0])}
            for _ in images
        ]


def test_boxes_are_taken_back_to_the_size_of_the_file():
    target = {
        "boxes": torch.tensor([[4.0, 2.0, 12.0, 10.0]]),
        "labels": torch.tensor([1]),
        "area": torch.tensor([640.0]),
        "crowd": torch.tensor([False]),
        "size": torch.tensor([16, 32]),
        "original": torch.tensor([80, 64]),
    }
    batches = [
        Batch(torch.zeros(1, 3, 32, 32), (target,), torch.tensor([place])) for place in (4, 2, 4)
    ]
    model = Finder()
    images = seen(model, batches)
    assert [each.id for each in images] == [2, 4]  # an image that came twice counts once
    assert images[0].boxes.tolist() == [[8, 10, 24, 50]]
    assert images[0].found.tolist() == [[0, 0, 16, 40], [8, 10, 24, 50]]  # by score
    assert images[0].kinds.tolist() == [0, 1] and images[0].size == (80, 64)
    assert detection(model, batches)["ap/1"] == pytest.approx(1)
    assert model.training and not any(model.modes)
