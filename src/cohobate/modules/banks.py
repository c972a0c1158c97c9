"""Rows of every training image from two networks, remembered so as to contrast a batch with them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch
from cohobate.losses.exact import product
from cohobate.modules.memory import Memory
from cohobate.words import WORD, mix

SLICE = 8192
"""Rows that are filled at a time."""


class Contrast(NamedTuple):
    """The inner products of one network's rows with what is remembered of the other's.

    positive: (B,) with the other's row of the same image.
    negative: (B, K) with its rows of the images drawn.
    """

    positive: Tensor
    negative: Tensor


class Banks(nn.Module):
    """A row of unit norm for every training image from a student and from a teacher.

    samples, width: rows, and numbers in each.
    negatives: images that are drawn for each one of a batch, K: a pure function of its id and the
        step.
    momentum: share of what is remembered when a row is written again.

    An image that has not been seen yet has a random direction, as one that was drawn; its partner is
    the row that the other network has of it now. Under mixing, a partner is the mixture of what is
    remembered of both images, and no image of either class counts as a negative.
    """

    def __init__(self, samples: int, width: int, *, negatives: int, momentum: float):
        super().__init__()
        self.student = Memory("the student's embeddings", samples, width)
        self.teacher = Memory("the teacher's embeddings", samples, width)
        self.classes = Memory("the classes of the images seen", samples, 1, dtype=torch.int64)
        self.negatives, self.momentum = negatives, momentum
        for salt, bank in enumerate((self.student, self.teacher)):
            _fill_with_directions(bank.rows, salt)

    def forward(
        self, batch: Batch, student: Tensor, teacher: Tensor, step: Tensor | int
    ) -> tuple[list[Contrast], Tensor]:
        """The contrasts of the student's rows and of the teacher's, and which negatives count (B, K).

        student, teacher: (B, width) of unit norm, float32. They are written down afterwards.
        Negatives of an image's own class do not count, as far as that class has been seen.
        """
        step = torch.as_tensor(step).long()
        drawn = drawn_ids(batch.ids, step, self.negatives, len(self.classes.rows))
        apart = self._apart(batch, drawn)
        contrasts = [
            self._contrast(student, teacher, self.teacher, batch, drawn, step),
            self._contrast(teacher, student, self.student, batch, drawn, step),
        ]
        self.classes.write(batch.ids, batch.targets[:, None], step)
        return contrasts, apart

    def _contrast(
        self, rows: Tensor, others: Tensor, bank: Memory, batch: Batch, drawn: Tensor, step: Tensor
    ) -> Contrast:
        past, steps = bank.read(batch.ids)
        past = torch.where(steps[:, None] >= 0, past, others.detach())
        partner = past if batch.mix is None else batch.mix.blend(past)
        scores = product(rows, bank.rows.clone())  # a copy, since the bank is written next
        moved = self.momentum * past + (1 - self.momentum) * others.detach()
        bank.write(batch.ids, F.normalize(moved), step)
        return Contrast((rows * partner).sum(1), scores.gather(1, drawn))

    def _apart(self, batch: Batch, drawn: Tensor) -> Tensor:
        """Whether images drawn (B, K) are known neither to be of a row's class nor to be its image."""
        classes, steps = self.classes.read(drawn.flatten())
        classes = torch.where(steps >= 0, classes[:, 0], -1).view_as(drawn)
        places = (batch.ids, batch.targets)
        apart = _differ((drawn, classes), places)
        if batch.mix is None:
            return apart
        return apart & _differ((drawn, classes), [own[batch.mix.partner] for own in places])


def drawn_ids(ids: Tensor, step: Tensor, count: int, samples: int) -> Tensor:
    """(B, count) ids below `samples`: a pure function of each of `ids` (B,) and of the step."""
    rows = mix(ids ^ mix(step & WORD))
    columns = mix(torch.arange(count, device=ids.device) + 1)
    return mix(rows[:, None] ^ columns) % samples


def _differ(drawn: tuple[Tensor, ...], own: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Where both of two arrays (B, K) differ from both of two (B,)."""
    first, second = (theirs != ours[:, None] for theirs, ours in zip(drawn, own))
    return first & second


def _fill_with_directions(rows: Tensor, salt: int) -> None:
    """Writes random directions of unit norm, (samples, width), the same ones on every process.

    A slice at a time: the words that they are made of take several times the room of the rows.
    """
    columns = mix(torch.arange(rows.shape[1], device=rows.device) + (salt << 24))
    first = 1
    for part in rows.split(SLICE):
        numbers = mix(torch.arange(first, first + len(part), device=rows.device))
        part.copy_(((mix(numbers[:, None] ^ columns) & 1) * 2 - 1) / rows.shape[1] ** 0.5)
        first += len(part)
