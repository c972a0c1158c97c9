"""Mixtures of images, drawn as those that a method learns from, and what each of its heads says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor

from cohobate.analysis.heads import say
from cohobate.analysis.pictures import picture
from cohobate.core import Method, Mixture
from cohobate.data.draws import generator
from cohobate.modules.mixing import CutMix, Drawn, ManifoldMixing, Mixup

PAIRS = 4
DRAWS = 32
"""Mixtures that are drawn, of which as many as `PAIRS` are shown: from the most even one to the
least, evenly spaced."""
LISTED = 3
"""Classes that a head's prediction is shown by."""
SIDE = 96


@dataclass(frozen=True)
class Opinion:
    """classes, shares: the likeliest classes of a head, and their probabilities, falling."""

    head: str
    classes: list[int]
    shares: list[float]


@dataclass(frozen=True)
class Mixed:
    """A mixture of two images.

    rows: of the two, in the split. classes: of the two. weight: the share of the first.
    pictures: of the two and of their mixture, as data URIs.
    """

    rows: tuple[int, int]
    classes: tuple[int, int]
    weight: float
    opinions: list[Opinion]
    pictures: list[str]


def pairs(targets: Tensor, seed: int) -> Tensor:
    """Rows of `DRAWS` pairs of images of different classes, one after the other; fewer where there are."""
    order = torch.randperm(len(targets), generator=generator(seed))
    waiting: list[int] = []  # all of one class
    found: list[int] = []
    for row in order.tolist():
        if waiting and targets[waiting[0]] != targets[row]:
            found += [waiting.pop(), row]
        else:
            waiting.append(row)
        if len(found) == 2 * DRAWS:
            break
    return torch.tensor(found, dtype=torch.int64)


def drawn(method: Method, images: Tensor, seed: int) -> list[tuple[int, Mixture]]:
    """`PAIRS` mixtures, each of two neighbours among the images, the most even first.

    images: (2N, 3, H, W). A method that mixes a part of its images is asked for mixed ones, and one
    that mixes layers for those of the images.
    Gives the place of the first image of each pair, and the mixture of these two rows.
    """
    mixing = method.mix
    if isinstance(mixing, Mixup | CutMix):
        mixing = replace(mixing, share=1.0, variant="paper")
    elif isinstance(mixing, ManifoldMixing):
        mixing = replace(mixing, share=1.0, deepest=0)
    elif isinstance(mixing, Drawn):
        mixing = replace(mixing, share=1.0)
    assert mixing is not None, "a method without a mixing has no mixtures"
    found = []
    for number in range(len(images) // 2):
        pair = images[2 * number : 2 * number + 2]
        mixture = mixing.draw(pair, generator=generator(seed, number))
        found.append((abs(float(mixture.weight[0]) - 0.5), 2 * number, mixture))
    found.sort(key=itemgetter(0, 1))
    step = max(1, len(found) // PAIRS)
    return [(place, mixture) for _, place, mixture in found[::step][:PAIRS]]


@torch.no_grad()
def mixtures(
    method: Method, images: Tensor, targets: Sequence[int], rows: Sequence[int], seed: int
) -> list[Mixed]:
    """Some mixtures of the images, and what each head of the method says of them, in eval mode.

    images: (2N, 3, H, W) in [0, 1], as `pairs` has them; targets, rows: their classes, and places in the split.
    """
    method.eval()
    found = []
    for place, mixture in drawn(method, images, seed):
        pair = images[place : place + 2]
        blend = mixture.blend(pair)
        said = say(method, blend[:1])
        found.append(
            Mixed(
                rows=(rows[place], rows[place + 1]),
                classes=(targets[place], targets[place + 1]),
                weight=float(mixture.weight[0]),
                opinions=[opinion(name, logits[0]) for name, logits in said.items()],
                pictures=[picture(image, SIDE) for image in (*pair, blend[0])],
            )
        )
    return found


def opinion(head: str, logits: Tensor) -> Opinion:
    """The likeliest classes of logits (C,)."""
    shares, classes = logits.float().softmax(0).topk(min(LISTED, len(logits)))
    return Opinion(head, classes.tolist(), shares.tolist())
