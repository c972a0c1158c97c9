"""The maps of two networks where they can be compared pixel by pixel."""

from collections.abc import Sequence

from torch import Tensor

from cohobate.modules.connector import pairs, resized


def paired(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The maps (B, C, H, W) that meet, shallow to deep, each two at the smaller of both sizes.

    Their channels stay as they are. Which meet is said by `connector.pairs`.
    """
    return [_of_one_size(student[own], teacher[other]) for own, other in pairs(student, teacher)]


def _of_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    height, width = (min(sides) for sides in zip(student.shape[-2:], teacher.shape[-2:]))
    return resized(student, height, width), resized(teacher, height, width)
