"""How a classifier stands changes of its images: attacks that are made to mislead it, and accidents.

Images are (B, 3, H, W) in [0, 1]; an attack moves no value further than `epsilon`, in the same
units, and none out of [0, 1].
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch
from cohobate.data.draws import uniform

STEPS = 10
"""Of PGD, each with a gradient of its own."""
Change = Callable[[Tensor, Tensor], Tensor]
"""From images (B, 3, H, W) and their ids (B,) to changed images."""
CELLS = 8
"""A side of the grid whose cells occlusion covers."""
WAYS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Right, left, down, up: (rows, columns)."""


@dataclass(frozen=True)
class Robustness:
    """Accuracies in [0, 1] under attack, one for each epsilon."""

    epsilons: list[float]
    fgsm: list[float]
    pgd: list[float]


def gradient(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient (B, 3, H, W) of each image's own cross-entropy; no parameter gets any."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(network(images), targets, reduction="sum")
        return torch.autograd.grad(loss, images)[0]


def fgsm(images: Tensor, slope: Tensor, epsilon: float) -> Tensor:
    """The images, moved by `epsilon` along the sign of their gradient `slope`.

    Goodfellow et al., ICLR 2015, https://arxiv.org/abs/1412.6572, section 4.
    """
    return (images + epsilon * slope.sign()).clamp(0, 1)


def pgd(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    epsilon: float,
    *,
    steps: int = STEPS,
    step_size: float | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """The images, moved in several steps that each end within `epsilon` of where they began.

    Madry et al., ICLR 2018, https://arxiv.org/abs/1706.06083, section 2.1, in the L-infinity norm.
    step_size: by how much each value moves in a step; 2.5 epsilon / steps where it is left out, with
        which every part of the box can be reached from any start.
    start: (B, 3, H, W) in [-1, 1], where to start, in units of epsilon; from the images themselves
        where it is left out.
    """
    if epsilon == 0:
        return images
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    moved = images if start is None else (images + epsilon * start).clamp(low, high)
    for _ in range(steps):
        moved = (moved + step_size * gradient(network, moved, targets).sign()).clamp(low, high)
    return moved


def sweep(
    network: nn.Module,
    batches: Iterable[Batch],
    epsilons: Sequence[float],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Robustness:
    """Top-1 under FGSM, and under PGD from a random start, for every epsilon.

    The network is attacked in eval mode; it stays as it is. An image's start depends on `seed` and
    on its id alone. Raises ValueError for an epsilon outside [0, 1].
    """
    for epsilon in epsilons:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"an epsilon of {epsilon:g} should be from 0 to 1, such as 8/255")
    network = deepcopy(network).eval().requires_grad_(False)
    hits = torch.zeros(2, len(epsilons), dtype=torch.int64)
    count = 0
    for images, targets, ids, *_ in batches:
        count += len(images)
        slope = gradient(network, images, targets)
        draws = uniform(seed, 0, ids, 0, images[0].numel()).view_as(images)
        for place, epsilon in enumerate(epsilons):
            quick = fgsm(images, slope, epsilon)
            slow = pgd(network, images, targets, epsilon, steps=steps, start=2 * draws - 1)
            hits[0, place] += _correct(network, quick, targets)
            hits[1, place] += _correct(network, slow, targets)
    quick, slow = (hits / count).tolist()
    return Robustness([*epsilons], quick, slow)


@torch.no_grad()
def _correct(network: nn.Module, images: Tensor, targets: Tensor) -> int:
    return int((network(images).argmax(1) == targets).sum())


def occlude(images: Tensor, ids: Tensor, share: float, seed: int = 0) -> Tensor:
    """The images, a share of each under grey patches: cells of an 8 × 8 grid, as many as fit best.

    Which ones depends on `seed` and the image's id; those of a smaller share are among them.
    """
    count = round(share * CELLS**2)
    place = uniform(seed, 0, ids, 0, CELLS**2).argsort(1).argsort(1)
    covered = (place < count).view(-1, 1, CELLS, CELLS).to(images)
    return images.masked_fill(F.interpolate(covered, images.shape[2:], mode="nearest") > 0, 0.5)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """The images, moved by whole pixels; pixels of the border fill what is left bare."""
    height, width = images.shape[2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows[:, None], columns]


@torch.inference_mode()
def accuracies(
    network: nn.Module, batches: Iterable[Batch], changes: Sequence[Change]
) -> list[float]:
    """Top-1 in [0, 1] on the images after each of the changes; the network is in eval mode."""
    hits, count = [0] * len(changes), 0
    was_training = network.training
    network.eval()
    for images, targets, ids, *_ in batches:
        count += len(images)
        for place, change in enumerate(changes):
            hits[place] += _correct(network, change(images, ids), targets)
    network.train(was_training)
    return [hit / count for hit in hits]
