"""Data sets for classification by name: read, checked, cut into train, val and test, measured."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cohobate.core import unknown
from cohobate.data.datasets import DATASETS, PHOTOGRAPH_AUGMENT, SMALL_AUGMENT, Facts
from cohobate.data.images import SKIP, BadImage
from cohobate.data.serving import measure, natural_size, readable, serve
from cohobate.data.splits import Found, Split, halves, portion, take_per_class

HELD_OUT = 0.2
"""Share of each class that is cut for test from data without a test set."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set, ready to train on.

    name: the name in `DATASETS`.
    classes: their names, in the order of the targets.
    size: side of the square images that are served, in pixels.
    channels: 1 where the files are grey, else 3; 3 are served either way.
    mean, std: of each served channel over the training images, in units of [0, 1].
    train, val, test: the splits, each a `Split`, or what the task has in its place; None where there
        is none.
    augment: names from `AUGMENTS` that suit the set.
    notes: sentences for the run's summary: what was left out, cut or found unusual.
    """

    name: str
    classes: tuple[str, ...]
    size: int
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: Any
    val: Any
    test: Any
    augment: tuple[str, ...]
    notes: tuple[str, ...]


def load(
    name: str,
    *,
    root: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
    val: float = 0.1,
    per_class: int | None = None,
    fraction: float = 1.0,
    skip_bad: bool = False,
    seed: int = 0,
) -> ImageSet:
    """The data set `name` of `DATASETS`.

    root: where it lies; `digits` needs none.
    download: fetch it to `root` where torchvision can and it is not there.
    size: side of the images served, in pixels; None takes the set's own.
    val: share of each class cut from train for validation, unless the data has a val split.
    per_class, fraction: how many images of each class, which share of the rest, to train on.
    skip_bad: leave out files that cannot be read, and say so in `notes`.
    seed: of these cuts. Where a test set has to be cut it is always the same, so that runs and
        teachers of different seeds share it.

    Raises ValueError for an unknown name, an option out of range or data that is not as it should
    be, FileNotFoundError for data that is missing, BadImage for a file that cannot be read.
    """
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    _check_options(size, val, per_class, fraction)
    facts = DATASETS[name]
    found = facts.read(name, None if root is None else Path(root).expanduser(), download)
    _compare(name, facts, found)
    try:
        found = _cut(readable(found, skip_bad), val, per_class, fraction, seed)
        return _serve(name, facts, found, size)
    except BadImage as error:
        raise BadImage(error.path, f"{error.reason}; {SKIP}") from error


def declared(name: str, size: int | None = None) -> ImageSet:
    """A stand-in for a set that is not at hand, by what `DATASETS` tells of it.

    It has the classes, the size and the channels of the set, and as many images; they hold nothing.
    Raises ValueError where the table does not tell enough.
    """
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    facts = DATASETS[name]
    size = size or facts.size
    if not (facts.classes and facts.train and size):
        raise ValueError(f"data.name={name}: its classes and size are known once it is read")
    classes = facts.classes
    targets = torch.arange(facts.train) % classes
    pixel = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    images = Split(pixel.expand(facts.train, 3, size, size), targets)
    return ImageSet(
        name=name,
        classes=tuple(str(number) for number in range(classes)),
        size=size,
        channels=facts.channels or 3,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        train=images,
        val=None,
        test=None,
        augment=facts.augment or SMALL_AUGMENT,
        notes=(),
    )


def _check_options(size: int | None, val: float, per_class: int | None, fraction: float) -> None:
    if size is not None and size < 1:
        raise ValueError(f"data.size={size} should be a number of pixels, 1 or more")
    if not 0 <= val < 1:
        raise ValueError(f"data.val={val} should be a share of train: from 0 (none) to below 1")
    if per_class is not None and per_class < 1:
        raise ValueError(f"data.per_class={per_class} should be 1 or more images of each class")
    if not 0 < fraction <= 1:
        raise ValueError(f"data.fraction={fraction} should be a share: above 0, up to 1 (all)")


def _compare(name: str, facts: Facts, found: Found) -> None:
    """Holds what was read against what is known."""
    pixels = found.train.images
    for what, known, read in (
        ("classes", facts.classes, len(found.classes)),
        ("training images", facts.train, len(found.train)),
        ("test images", facts.test, len(found.test) if found.test else 0),
        ("channels", facts.channels, pixels.shape[1] if isinstance(pixels, Tensor) else None),
    ):
        if known is not None and read is not None and read != known:
            raise ValueError(
                f"{name} has {known:,} {what} but {read:,} were found in data.root: "
                "fetch it again, or read it as data.name=folder or npz"
            )


def _cut(found: Found, val: float, per_class: int | None, fraction: float, seed: int) -> Found:
    """The splits that are missing, cut from train; then the part of train that was asked for."""
    if found.test is None:
        note = (
            f"no val/ or test/ folder: cut {HELD_OUT:.0%} of each class for test, always the same"
        )
        found, test = _hold_out(found.noting(note), HELD_OUT, 0, "the cut for test")
        found = replace(found, test=test)
    if found.val is None and val > 0:
        found, held = _hold_out(found, val, seed, f"data.val={val:g}")
        found = replace(found, val=held)
    train = portion(found.train, fraction, seed) if fraction < 1 else found.train
    if per_class is not None:
        train = take_per_class(train, per_class, found.classes, seed)
    return replace(found, train=train)


def _hold_out(found: Found, share: float, seed: int, cut: str) -> tuple[Found, Split]:
    """`found` without a share of train, and that share; notes say which classes are short of images."""
    train, held = halves(found.train, share, seed)
    before, after = (
        torch.bincount(split.targets, minlength=len(found.classes))
        for split in (found.train, train)
    )
    for short, what in (
        (before == 1, "finds a single image, which stays to train on,"),
        ((before > 1) & (after == 1), "leaves a single image to train on"),
    ):
        names = [found.classes[number] for number in short.nonzero().flatten().tolist()]
        if names:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            classes = "1 class" if len(names) == 1 else f"{len(names)} classes"
            found = found.noting(f"{cut} {what} of {classes}: {listed}")
    return replace(found, train=train), held


def _serve(name: str, facts: Facts, found: Found, size: int | None) -> ImageSet:
    """The set as it is trained on, and what was found out about it. Raises BadImage."""
    size = size or facts.size or natural_size(found.train.images)
    found = serve(found, size)
    mean, std, channels = measure(found.train.images, size)
    in_memory = isinstance(found.train.images, Tensor)
    return ImageSet(
        name=name,
        classes=found.classes,
        size=size,
        channels=facts.channels or channels,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        train=found.train,
        val=found.val,
        test=found.test,
        augment=facts.augment or (SMALL_AUGMENT if in_memory else PHOTOGRAPH_AUGMENT),
        notes=found.notes,
    )
