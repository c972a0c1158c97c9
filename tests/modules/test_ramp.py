"""Weights that rise come to one, in short runs too."""

import pytest
import torch

from cohobate.core import Progress
from cohobate.modules.ramp import warm_up


@pytest.mark.parametrize(
    "asked, epochs, expected",
    [
        (4, 100, [0.25, 0.5, 0.75, 1, 1]),
        (0, 100, [1, 1]),
        (20, 6, [1 / 3, 2 / 3, 1, 1, 1, 1]),
        (20, 3, [2 / 3, 1, 1]),
        (20, 2, [1, 1]),
        (20, 1, [1]),
    ],
)
def test_a_warm_up_takes_half_of_the_run_at_most(asked, epochs, expected):
    here = [Progress(torch.tensor(epoch), epochs, 0, 1) for epoch in range(len(expected))]
    assert [warm_up(now, asked).item() for now in here] == pytest.approx(expected)
