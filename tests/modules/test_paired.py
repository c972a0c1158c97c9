"""Maps of two networks at one size."""

import pytest
import torch

from cohobate.modules.paired import paired


def maps(*sides: tuple[int, int], channels: int = 2) -> list[torch.Tensor]:
    return [torch.rand(3, channels, *side) for side in sides]


def test_the_larger_is_averaged_and_the_smaller_stays():
    (own,), (other,) = maps((4, 4)), maps((2, 2), channels=5)
    ((student, teacher),) = paired([own], [other])
    assert teacher is other
    for y in range(2):
        for x in range(2):
            patch = own[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            torch.testing.assert_close(student[:, :, y, x], patch.mean((2, 3)))
    ((teacher, student),) = paired([other], [own])
    assert teacher is other
    assert student.shape == (3, 2, 2, 2)


def test_each_side_is_the_smaller_of_two():
    ((student, teacher),) = paired(maps((6, 2)), maps((3, 4)))
    assert student.shape[-2:] == teacher.shape[-2:] == (3, 2)


@pytest.mark.parametrize(
    "counts, meet",
    [((3, 3), [(0, 0), (1, 1), (2, 2)]), ((2, 4), [(0, 1), (1, 3)]), ((4, 1), [(3, 0)])],
)
def test_stages_meet_from_the_last_on(counts, meet):
    own, other = (maps(*[(2, 2)] * count) for count in counts)
    places = [(place(s, own), place(t, other)) for s, t in paired(own, other)]
    assert places == meet


def place(tensor: torch.Tensor, among: list[torch.Tensor]) -> int:
    """Where a tensor itself stands, not one equal to it."""
    return next(k for k, other in enumerate(among) if other is tensor)
