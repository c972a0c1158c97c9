"""Accuracies on changed images, counted by hand on a network whose answers are known."""

import numpy as np
import pytest
import torch
from torch import nn

from cohobate.analysis import robustness, stress
from cohobate.core import Batch
from cohobate.data.corruptions import CORRUPTIONS


class Corner(nn.Module):
    """Says 1 where the pixel in row 4 and column 4 is light."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        light = self.weight * images[:, :, 4, 4].mean(1)
        return torch.stack([0.5 - light, light - 0.5], 1)


def points(count, size=16):
    """Black images, those of odd number with a light pixel in row 4 and column 4."""
    images = torch.zeros(count, 3, size, size)
    targets = torch.arange(count) % 2
    images[targets == 1, :, 4, 4] = 1
    return Batch(images, targets, torch.arange(count))


def noise(count, size):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("step", [(0, 0), (3, 0), (-3, 0), (0, 2), (0, -2), (4, -1)])
def test_a_shift_moves_pixels_and_repeats_the_border(step):
    images = noise(2, 8)
    down, right = step
    found = robustness.shift(images, down, right)
    for i in range(8):
        for j in range(8):
            row, column = min(max(i - down, 0), 7), min(max(j - right, 0), 7)
            assert torch.equal(found[:, :, i, j], images[:, :, row, column])


@pytest.mark.parametrize("size", [8, 32, 224])
def test_occlusion_covers_its_share_with_grey(size):
    images, ids = noise(5, size), torch.tensor([0, 9, 4, 2**20, 5])
    covered = torch.zeros(5, 3, size, size, dtype=torch.bool)
    for share in stress.SHARES:
        found = robustness.occlude(images, ids, share)
        grey = found == 0.5
        assert grey.double().mean((1, 2, 3)).tolist() == pytest.approx([share] * 5, abs=1e-6)
        assert torch.equal(found[~grey], images[~grey])
        assert (grey | ~covered).all()  # more than before, and all of that
        covered = grey
        cells = grey.view(5, 3, 8, size // 8, 8, size // 8)
        assert torch.equal(cells.amin((3, 5)), cells.amax((3, 5)))
    assert not torch.equal(grey[0], grey[1])
    other = robustness.occlude(images[[3]], ids[[3]], stress.SHARES[-1])
    assert torch.equal(other[0], found[3])
    assert not torch.equal(robustness.occlude(images, ids, 0.5, seed=1), found)


def test_accuracies_count_over_batches_and_leave_the_mode():
    network = Corner().train()
    whole = points(7)
    parts = [Batch(*(field[k : k + 3] for field in whole[:3])) for k in range(0, 7, 3)]
    changes = [stress.same, lambda images, ids: 1 - images, lambda images, _: 0 * images]
    found = robustness.accuracies(network, parts, changes)
    assert found == pytest.approx([1, 0, 4 / 7])
    assert network.training


def test_the_table_of_shifts():
    """Any shift takes the light pixel away: only black images are still recognised."""
    found = stress.shifts(Corner(), [points(10)])
    assert found.levels == ["1 px", "2 px", "4 px", "8 px"]
    assert found.top1 == {"four ways": [0.5, 0.5, 0.5, 0.5]}


def test_a_shift_that_one_way_hides_counts_a_quarter():
    batch = points(10)
    batch.images[batch.targets == 1, :, 4, 3] = 1  # to the right there is light, too
    assert stress.shifts(Corner(), [batch]).top1["four ways"] == pytest.approx(
        [0.5 + 0.5 / 4, 0.5, 0.5, 0.5]
    )


def test_the_table_of_occlusion():
    """Grey is 0.5, where the network says 0: light images are lost where their pixel is covered."""
    batch = points(200)
    found = stress.occlusion(Corner(), [batch])
    for share, top1 in zip(stress.SHARES, found.top1["grey patches"]):
        hidden = robustness.occlude(batch.images, batch.ids, share)[:, 0, 4, 4] == 0.5
        lost = (hidden & (batch.targets == 1)).double().mean()
        assert top1 == pytest.approx(1 - lost)
        assert lost == pytest.approx(share / 2, abs=0.1)
    assert found.levels == ["12.5 %", "25 %", "50 %", "75 %"]


def test_the_table_of_corruptions_has_a_row_each():
    batch = points(6, 32)
    found = stress.corruptions(Corner(), [batch], seed=3)
    assert list(found.top1) == list(CORRUPTIONS)
    assert found.levels == ["1", "2", "3", "4", "5"]
    for name, row in found.top1.items():
        for severity, top1 in enumerate(row, start=1):
            changed = CORRUPTIONS[name](batch.images, severity, batch.ids, 3)
            said = changed[:, :, 4, 4].mean(1) > 0.5
            assert top1 == pytest.approx(np.mean(said.numpy() == batch.targets.numpy()))
    assert found.counted == list(CORRUPTIONS)
    assert found.corruption_error == pytest.approx(1 - np.mean(list(found.top1.values())))


def test_what_is_not_of_the_benchmark_is_left_out_of_the_mean():
    top1 = {"fog": [0.9, 0.5], "saturate": [0.0, 0.0], "snow": [0.6, 0.2]}
    found = stress.Stress("corruption", ["1", "2"], top1)
    assert found.counted == ["fog", "snow"]
    assert found.corruption_error == pytest.approx(0.45)


def test_the_table_of_attacks_is_the_sweep():
    batch = points(10)
    batch.images.add_(0.49).clamp_(max=0.51)  # a hair from the border between the classes
    found = stress.attacks(Corner(), [batch])
    assert found.levels == ["1/255", "2/255", "4/255", "8/255"]
    assert list(found.top1) == ["fgsm", "pgd"]
    assert found.top1["fgsm"] == found.top1["pgd"]
    assert found.top1["fgsm"][0] == 1
    assert found.top1["fgsm"][-1] == 0
