"""Which classes a network takes for which others."""

from dataclasses import dataclass

import torch
from torch import Tensor

LISTED = 6
"""Pairs of classes that are shown with images."""
SHOWN = 5
"""Images of a pair, at most."""


@dataclass(frozen=True)
class Pair:
    """Images of one class that a network takes for another's.

    count: how many. share: of the images of class `true`. rows: some of them, those first of whose
    wrong class the network is surest. pictures: the images in `rows`, as data URIs.
    """

    true: int
    taken: int
    count: int
    share: float
    rows: list[int]
    pictures: list[str]


@dataclass(frozen=True)
class Confusion:
    """counts: (C, C), how many images of each class (down) are taken for each class (across)."""

    counts: list[list[int]]
    pairs: list[Pair]


def matrix(logits: Tensor, targets: Tensor) -> Tensor:
    """How many images of each class (rows) a network takes for each class (columns): (C, C), int64.

    logits: (N, C). targets: (N,).
    """
    classes = logits.shape[1]
    places = targets * classes + logits.argmax(1)
    return torch.bincount(places, minlength=classes**2).view(classes, classes)


def confusion(
    logits: Tensor, targets: Tensor, *, pairs: int = LISTED, images: int = SHOWN
) -> Confusion:
    """The matrix, and its largest numbers off the diagonal, the largest first; none that is zero."""
    counts = matrix(logits, targets).cpu()
    wrong = counts.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:pairs]
    guess, sure = logits.argmax(1), logits.softmax(1).amax(1)
    found = []
    for place in order.tolist():
        true, taken = divmod(place, len(counts))
        if (count := int(wrong[true, taken])) == 0:
            break
        rows = ((targets == true) & (guess == taken)).nonzero()[:, 0]
        rows = rows[sure[rows].argsort(descending=True, stable=True)][:images]
        share = count / int(counts[true].sum())
        found.append(Pair(true, taken, count, share, rows.tolist(), []))
    return Confusion(counts.tolist(), found)
