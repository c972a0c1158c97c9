"""Top-1 of a network under corruptions, attacks, occlusion and shift, as tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

from torch import Tensor, nn

from cohobate.analysis.robustness import WAYS, Change, accuracies, occlude, shift, sweep
from cohobate.core import Batch
from cohobate.data.corrupted import BENCHMARK, Corrupted
from cohobate.data.corruptions import CORRUPTIONS, SEVERITIES
from cohobate.data.splits import Split

EPSILONS = (1, 2, 4, 8)
"""How far attacks move a value, in 255ths of the range."""
SHARES = (0.125, 0.25, 0.5, 0.75)
"""Of the image that are occluded."""
PIXELS = (1, 2, 4, 8)
"""By which images are shifted, each way in turn."""


@dataclass(frozen=True)
class Stress:
    """What was done to the images, in rows and at rising levels, and how many were still recognised.

    what: heads the rows. top1: of each row in [0, 1], one for each level.
    """

    what: str
    levels: list[str]
    top1: dict[str, list[float]]

    @property
    def counted(self) -> list[str]:
        """Of corruptions, the rows that belong to the benchmark."""
        return [name for name in self.top1 if name in BENCHMARK]

    @property
    def corruption_error(self) -> float:
        """The mean corruption error, over the rows that count and all levels.

        It is not divided by AlexNet's errors, as ImageNet-C's own is.
        """
        return 1 - mean(value for name in self.counted for value in self.top1[name])


def corruptions(network: nn.Module, batches: Iterable[Batch], seed: int = 0) -> Stress:
    """Under ten corruptions made on the fly, at five severities."""

    def change(corrupt: Callable[..., Tensor], severity: int) -> Change:
        return lambda images, ids: corrupt(images, severity, ids, seed)

    changes = [change(each, severity) for each in CORRUPTIONS.values() for severity in SEVERITIES]
    return _table(
        "corruption", SEVERITIES, list(CORRUPTIONS), accuracies(network, batches, changes)
    )


def attacks(network: nn.Module, batches: Iterable[Batch], seed: int = 0) -> Stress:
    """Under FGSM and PGD, by how far a value may be moved."""
    found = sweep(network, batches, [epsilon / 255 for epsilon in EPSILONS], seed=seed)
    levels = [f"{epsilon}/255" for epsilon in EPSILONS]
    return _table("attack", levels, ["fgsm", "pgd"], [*found.fgsm, *found.pgd])


def occlusion(network: nn.Module, batches: Iterable[Batch], seed: int = 0) -> Stress:
    """With a share of each image under grey patches."""
    changes = [partial(occlude, share=share, seed=seed) for share in SHARES]
    levels = [f"{100 * share:g} %" for share in SHARES]
    return _table("occlusion", levels, ["grey patches"], accuracies(network, batches, changes))


def shifts(network: nn.Module, batches: Iterable[Batch], seed: int = 0) -> Stress:
    """Shifted by some pixels: right, left, down and up, averaged."""

    def change(pixels: int, way: tuple[int, int]) -> Change:
        return lambda images, _: shift(images, pixels * way[0], pixels * way[1])

    changes = [change(pixels, way) for pixels in PIXELS for way in WAYS]
    found = accuracies(network, batches, changes)
    means = [mean(found[k : k + len(WAYS)]) for k in range(0, len(found), len(WAYS))]
    return _table("shift", [f"{pixels} px" for pixels in PIXELS], ["four ways"], means)


KINDS: dict[str, Callable[..., Stress]] = {
    "corruptions": corruptions,
    "attacks": attacks,
    "occlusion": occlusion,
    "shift": shifts,
}
"""What `--robustness` can name: from a network, batches and a seed to a table."""


def published(
    network: nn.Module, found: Corrupted, batches: Callable[[str, Split], Iterable[Batch]]
) -> Stress:
    """Under the corruptions of a published set.

    batches: serves a split, which is named for a person who waits.
    """
    top1 = [
        accuracies(network, batches(f"{name} {severity}", found.split(name, severity)), [same])[0]
        for name in found.names
        for severity in SEVERITIES
    ]
    return _table("corruption", SEVERITIES, found.names, top1)


def same(images: Tensor, ids: Tensor) -> Tensor:
    """No change."""
    return images


def _table(what: str, levels: Sequence[object], rows: list[str], top1: Sequence[float]) -> Stress:
    """top1: of the first row at every level, then of the second, …"""
    width = len(levels)
    parts = (list(top1[k : k + width]) for k in range(0, len(top1), width))
    return Stress(what, [str(level) for level in levels], dict(zip(rows, parts)))
