"""The scores of a classifier against what they are defined to be."""

import pytest
import torch
from torch import nn

from cohobate.core import Batch
from cohobate.evaluate import classification


class Told(nn.Module):
    """A classifier that says what the first row of pixels tells it to."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * images[:, 0, 0, : self.num_classes]


def batch(said: list[int], true: list[int], classes: int) -> Batch:
    images = torch.zeros(len(said), 3, 8, 8)
    images[torch.arange(len(said)), 0, 0, torch.tensor(said)] = 1
    return Batch(images, torch.tensor(true), torch.arange(len(said)))


def test_balanced_is_the_mean_accuracy_of_the_classes_that_there_are_images_of():
    said, true = [0, 0, 1, 2, 3, 3], [0, 0, 0, 0, 3, 3]  # class 0: 2 of 4, class 3: all
    rows = [batch(said[:4], true[:4], 4), batch(said[4:], true[4:], 4)]
    scores = classification(Told(4), rows)
    assert scores["balanced"] == pytest.approx((2 / 4 + 1) / 2)
    assert scores["top1"] == pytest.approx(4 / 6)


def test_balanced_is_the_accuracy_where_classes_are_of_one_size():
    scores = classification(Told(3), [batch([0, 1, 2, 0, 1, 1], [0, 1, 2, 0, 2, 1], 3)])
    assert scores["balanced"] == pytest.approx(scores["top1"]) == pytest.approx(5 / 6)
