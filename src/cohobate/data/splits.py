"""A split of a data set, and how one is cut: stratified, seeded, the same on every run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from cohobate.data.draws import generator

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes.

    images: uint8 (N, 3, H, W) in memory, or the paths of N files.
    targets: (N,) int64 class indices.
    """

    images: Tensor | list[Path]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def names(self) -> list[str]:
        """`CLASS/FILE` of each image that is a file; none for images in memory."""
        if isinstance(self.images, Tensor):
            return []
        return [f"{path.parent.name}/{path.name}" for path in self.images]

    def fingerprint(self) -> str:
        """A short text that is another for other images, classes or order, wherever they lie."""
        mark = blake2b(self.targets.numpy().tobytes(), digest_size=16)
        images = self.images
        if isinstance(images, Tensor):
            mark.update(images.numpy().tobytes())
        else:
            mark.update(repr([self.names(), some_sizes(images)]).encode())
        return mark.hexdigest()

    def take(self, rows: Tensor) -> "Split":
        """The rows (M,) of this split, in that order."""
        if isinstance(self.images, Tensor):
            images = self.images[rows]
        else:
            images = [self.images[row] for row in rows.tolist()]
        return Split(images, self.targets[rows])


def some_sizes(files: Sequence[Path], most: int = 1000) -> list[int]:
    """The bytes of files, of so many at most: copies in another quality or size are told by them."""
    some = files[:: max(1, -(-len(files) // most))]
    return [path.stat().st_size if path.is_file() else -1 for path in some]


@dataclass(frozen=True, eq=False)
class Splits(Generic[S]):
    """What a reader found: whole splits as they lie on disk, before anything is cut or resized.

    notes: sentences for the run's summary.
    """

    classes: tuple[str, ...]
    train: S
    val: S | None = None
    test: S | None = None
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, S]:
        """Those that there are, by name."""
        every = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}

    def each(self, change: Callable[[S], T]) -> "Splits[T]":
        """The same with every split changed."""
        changed = {name: change(split) for name, split in self.splits().items()}
        return Splits(self.classes, **changed, notes=self.notes)

    def noting(self, note: str) -> "Splits[S]":
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))


Found = Splits[Split]
"""Of images and their classes; images in memory are (N, 1 or 3, H, W) here."""


class Reader(Protocol):
    """Reads the data set `name` from `root`, fetching it first where it can and should.

    Raises FileNotFoundError where it is missing, ValueError where it is not as it should be.
    """

    def __call__(self, name: str, root: Path | None, download: bool) -> Found: ...


def existing(name: str, root: Path | None, layout: str) -> Path:
    """`root`, which must be a folder. `layout` says in the error what it should hold.

    Raises ValueError where it was not given, FileNotFoundError where it does not exist.
    """
    if root is None:
        raise ValueError(f"data.name={name} needs data.root=FOLDER: {layout}")
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: {layout}")
    return root


def apportion(shares: Tensor, total: int) -> Tensor:
    """Whole numbers that sum to `total`, in proportion to `shares` (C,): largest remainders."""
    exact = shares.double() * (total / shares.double().sum())
    parts = exact.floor().long()
    parts[(parts - exact).argsort(stable=True)[: total - int(parts.sum())]] += 1
    return parts


def halves(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """`split` without `share` of each class, and that share.

    Of a class with several images each half gets at least one; a single image stays in the first.
    Raises ValueError where every class has but one.
    """
    counts = torch.bincount(split.targets)
    quotas = apportion(counts, round(share * len(split))).clamp(min=1)
    quotas = quotas.minimum(counts - 1).clamp(min=0)
    if quotas.sum() == 0:
        raise ValueError("each class has one image only: none can be set aside to validate or test")
    drawn = rank(split.targets, seed) < quotas[split.targets]
    return split.take((~drawn).nonzero().flatten()), split.take(drawn.nonzero().flatten())


def portion(split: Split, fraction: float, seed: int) -> Split:
    """`fraction` of each class, at least one image of each."""
    counts = torch.bincount(split.targets)
    quotas = apportion(counts, round(fraction * len(split))).clamp(min=1)
    return split.take((rank(split.targets, seed) < quotas[split.targets]).nonzero().flatten())


def take_per_class(split: Split, count: int, classes: tuple[str, ...], seed: int) -> Split:
    """`count` images of each class.

    Raises ValueError where a class has fewer.
    """
    counts = torch.bincount(split.targets, minlength=len(classes))
    smallest = int(counts.argmin())
    if count > counts[smallest]:
        raise ValueError(
            f"data.per_class={count} is more than class {classes[smallest]!r} has: "
            f"choose at most {int(counts[smallest])}, which is what the cuts (data.val, "
            "data.fraction) left of it"
        )
    return split.take((rank(split.targets, seed) < count).nonzero().flatten())


def rank(targets: Tensor, seed: int) -> Tensor:
    """Each image's place (N,) in a seeded random order of its class, from 0."""
    shuffled = torch.randperm(len(targets), generator=generator(seed))
    grouped = shuffled[targets[shuffled].argsort(stable=True)]
    counts = torch.bincount(targets)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(targets)
    place[grouped] = torch.arange(len(targets)) - starts[targets[grouped]]
    return place
