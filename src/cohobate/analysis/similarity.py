"""How alike the stages of two networks are: centred kernel alignment."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cohobate.core import Batch
from cohobate.models import Trace

FEWEST = 4
"""Images of a batch, without which the unbiased estimate is not defined."""
Traced = Callable[[Tensor], Trace]


@dataclass(frozen=True)
class Similarity:
    """one, other: the networks. values: CKA of each stage of one (down) with each of the other
    (across), shallow to deep; None where a stage is the same for all images."""

    one: str
    other: str
    values: list[list[float | None]]

    @property
    def title(self) -> str:
        return f"{self.one} (down), {self.other} (across)"


def hsic(one: Tensor, other: Tensor) -> Tensor:
    """The Hilbert-Schmidt independence criterion of two Gram matrices (n, n), estimated without bias.

    Song et al., "Feature Selection via Dependence Maximization", JMLR 13 (2012), equation 5.
    n: 4 or more.
    """
    n = len(one)
    one, other = (gram.clone().fill_diagonal_(0) for gram in (one, other))
    first = (one * other).sum()
    second = one.sum() * other.sum() / ((n - 1) * (n - 2))
    third = 2 * (one.sum(0) * other.sum(0)).sum() / (n - 2)
    return (first + second - third) / (n * (n - 3))


def gram(features: Tensor) -> Tensor:
    """The products of all pairs of rows (n, ...), float64: (n, n).

    Rows are centred first, which changes no `hsic`, and keeps large means from costing digits.
    """
    rows = features.flatten(1).double()
    rows = rows - rows.mean(0)
    return rows @ rows.T


@torch.no_grad()
def similarities(
    networks: dict[str, Traced], pairs: Sequence[tuple[str, str]], batches: Iterable[Batch]
) -> list[Similarity]:
    """Linear CKA of all stages of pairs of networks, which see the same images.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019,
    https://arxiv.org/abs/1905.00414, equation 2; HSIC is the unbiased one, averaged over
    batches, which have to be drawn at random: Nguyen et al., "Do Wide and Deep Networks Learn the
    Same Things?", ICLR 2021, https://arxiv.org/abs/2010.15327, equations 1 to 3. Batches of fewer
    than 4 images are left out; an empty list where that is all of them.
    """
    sums: dict[tuple[str, str], Tensor] = {}
    wanted = [*pairs, *((name, name) for name in networks)]
    for batch in batches:
        if len(batch.images) < FEWEST:
            continue
        grams = {
            name: list(map(gram, trace(batch.images).stages)) for name, trace in networks.items()
        }
        for one, other in wanted:
            table = [[hsic(a, b) for b in grams[other]] for a in grams[one]]
            found = torch.stack([torch.stack(line) for line in table])
            sums[one, other] = sums.get((one, other), 0) + found
    return [
        Similarity(one, other, _normalised(sums[one, other], sums[one, one], sums[other, other]))
        for one, other in pairs
        if (one, other) in sums
    ]


def _normalised(cross: Tensor, one: Tensor, other: Tensor) -> list[list[float | None]]:
    scale = (one.diagonal().clamp_min(0)[:, None] * other.diagonal().clamp_min(0)).sqrt()
    return [
        [float(value / norm) if norm > 0 else None for value, norm in zip(line, norms)]
        for line, norms in zip(cross, scale)
    ]
