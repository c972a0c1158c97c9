"""What sets with masks or boxes have in common: their images are of no class as a whole."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from filecmp import cmp
from itertools import chain, combinations, groupby
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from cohobate.core import counted, unknown
from cohobate.data.classification import HELD_OUT, ImageSet
from cohobate.data.draws import generator
from cohobate.data.images import stack
from cohobate.data.splits import Splits

MEASURED = 500
"""Mean and deviation are those of so many training images."""


class Dense(Protocol):
    """A split of images that are files."""

    @property
    def images(self) -> list[Path]: ...
    def __len__(self) -> int: ...
    def take(self, rows: Tensor) -> Any: ...


S = TypeVar("S", bound=Dense)
F = TypeVar("F")


class Facts(NamedTuple, Generic[F]):
    """What is known of a named set before it is read.

    read: how it is read. size: the side in pixels at which it is served unless asked otherwise.
    classes, train: how many classes and training images there are; None is found out from the files.
    """

    read: Callable[[str, Path | None, bool], F]
    size: int
    classes: int | None = None
    train: int | None = None


def known(name: str, sets: Mapping[str, Facts[F]]) -> Facts[F]:
    """What is known of a set by its name. Raises ValueError for a name that is not in the table."""
    if name not in sets:
        raise unknown("dataset", name, sets)
    return sets[name]


def check_options(per_class: int | None, what: str) -> None:
    """Raises ValueError for an option that asks for the class of an image with `what`."""
    if per_class is not None:
        raise ValueError(
            f"data.per_class={per_class}: an image with {what} is of no class; data.fraction=0.1"
            " takes a tenth of them"
        )


def check_apart(found: Splits[S]) -> None:
    """Raises ValueError where an image to train on is one to score, as in FRSKD's published split.

    It is one where its file stands in both lists, or where one of the same name and content does.
    """
    advice = "what is scored must not be trained on; take it from one of them"
    seen: dict[Path, str] = {}
    named = defaultdict[str, list[Path]](list)
    for place, split in found.splits().items():
        for path in split.images:
            if seen.setdefault(path, place) != place:
                raise ValueError(
                    f"image {path.stem!r} stands in the list of {place} and in that of"
                    f" {seen[path]}: {advice}"
                )
            named[path.name].append(path)
    for path, other in chain.from_iterable(map(_alike, named.values())):
        if seen[path] != seen[other] and cmp(path, other, shallow=False):
            raise ValueError(
                f"{other} of {seen[other]} is a copy of {path} of {seen[path]}: {advice}"
            )


def _alike(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Files of one size, two by two."""
    sizes = {path: path.stat().st_size for path in paths} if len(paths) > 1 else {}
    for _, group in groupby(sorted(sizes, key=sizes.__getitem__), sizes.__getitem__):
        yield from combinations(group, 2)


def cut(found: Splits[S], val: float, fraction: float, seed: int) -> Splits[S]:
    """The splits that are missing, cut from train; then the part of train that was asked for."""
    if found.test is None:
        train, test = _held_out(found.train, HELD_OUT, 0)
        found = replace(found, train=train, test=test).noting(
            f"no images to test on: cut {counted(len(test), 'image')} from train, always the same"
        )
    if found.val is None and val > 0:
        train, held = _held_out(found.train, val, seed)
        found = replace(found, train=train, val=held).noting(
            f"no images to validate on: cut {counted(len(held), 'image')} from train"
        )
    if fraction < 1:
        count = max(1, round(fraction * len(found.train)))
        order = torch.randperm(len(found.train), generator=generator(seed))
        found = replace(found, train=found.train.take(order[:count].sort().values))
    return found


def _held_out(split: S, share: float, seed: int) -> tuple[S, S]:
    """A split without a share of its images, one at least, and that share. Raises ValueError."""
    if len(split) < 2:
        raise ValueError("there is one training image: none can be set aside to validate or test")
    order = torch.randperm(len(split), generator=generator(seed))
    count = min(max(1, round(share * len(split))), len(split) - 1)
    return split.take(order[count:].sort().values), split.take(order[:count].sort().values)


def image_set(name: str, found: Splits[S], size: int, augment: tuple[str, ...]) -> ImageSet:
    """The set as it is trained on, measured. Raises BadImage."""
    images = stack(found.train.images[:MEASURED], min(size, 128)).float().div_(255)
    std, mean = torch.std_mean(images, (0, 2, 3))
    return ImageSet(
        name=name,
        classes=found.classes,
        size=size,
        channels=3,
        mean=tuple(mean.tolist()),
        std=tuple(torch.where(std > 0, std, 1.0).tolist()),
        train=found.train,
        val=found.val,
        test=found.test,
        augment=augment,
        notes=found.notes,
    )


def stand_in(name: str, facts: Facts[Any], size: int | None, augment: tuple[str, ...]) -> ImageSet:
    """A set that is not at hand, by what is known of it; it has no split to train on yet.

    Raises ValueError where not enough is known.
    """
    if not (facts.classes and facts.train):
        raise ValueError(f"data.name={name}: its classes are known once it is read")
    return ImageSet(
        name=name,
        classes=tuple(map(str, range(facts.classes))),
        size=size or facts.size,
        channels=3,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        train=None,
        val=None,
        test=None,
        augment=augment,
        notes=(),
    )
