"""Data sets for segmentation by name: read, checked, cut into train, val and test, measured."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cohobate.core import unknown
from cohobate.data import layouts
from cohobate.data.classification import HELD_OUT, ImageSet
from cohobate.data.draws import generator
from cohobate.data.images import SKIP, BadImage, check, stack
from cohobate.data.layouts import Masks
from cohobate.data.masks import MaskSplit
from cohobate.data.shapes import read_shapes


class Facts(NamedTuple):
    """What is known of a named set before it is read.

    read: how it is read. size: the side in pixels at which it is served unless asked otherwise.
    classes, train: how many classes and training images there are; None is found out from the files.
    """

    read: Callable[[str, Path | None, bool], Masks]
    size: int
    classes: int | None = None
    train: int | None = None


SETS = {
    "folder": Facts(layouts.read_folder, 256),
    "shapes": Facts(read_shapes, 64, 4, 160),
    "voc2012": Facts(layouts.read_voc, 512, 21, 1_464),
    "voc2012_aug": Facts(layouts.read_voc_aug, 512, 21, 10_582),
    "ade20k": Facts(layouts.read_ade20k, 512, 150, 20_210),
    "cityscapes": Facts(layouts.read_cityscapes, 512, 19, 2_975),
    "camvid": Facts(layouts.read_camvid, 352, 11, 367),
    "coco_stuff": Facts(layouts.read_coco_stuff, 512, 171, 118_287),
}
"""The sets by name."""
USUAL = ("scale", "crop", "flip")
"""The augmentation that the field uses."""
MEASURED = 500
"""Mean and deviation are those of so many training images."""


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
    """The data set `name` of `SETS`; its splits are `MaskSplit`.

    The rest is as for `classification.load`, but that images are cut as they come: they are of no
    class as a whole, and per_class is refused. Raises what that raises, and ValueError where an image
    stands in two of the splits.
    """
    if name not in SETS:
        raise unknown("dataset", name, SETS)
    if per_class is not None:
        raise ValueError(
            f"data.per_class={per_class}: an image with a mask is of no class; data.fraction=0.1"
            " takes a tenth of them"
        )
    facts = SETS[name]
    size = size or facts.size
    found = facts.read(name, None if root is None else Path(root).expanduser(), download)
    _check_apart(found)
    try:
        found = _readable(found, skip_bad)
        found = _cut(found, val, fraction, seed)
        mean, std = _measure(found.train, size)
    except BadImage as error:
        raise BadImage(error.path, f"{error.reason}; {SKIP}") from error
    return ImageSet(
        name=name,
        classes=found.classes,
        size=size,
        channels=3,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        train=found.train,
        val=found.val,
        test=found.test,
        augment=USUAL,
        notes=found.notes,
    )


def declared(name: str, size: int | None = None) -> ImageSet:
    """A stand-in for a set that is not at hand, by what `SETS` tells of it, as in `classification`.

    Raises ValueError where the table does not tell enough.
    """
    if name not in SETS:
        raise unknown("dataset", name, SETS)
    facts = SETS[name]
    if not (facts.classes and facts.train):
        raise ValueError(f"data.name={name}: its classes are known once it is read")
    nothing = [Path(str(number)) for number in range(facts.train)]
    return ImageSet(
        name=name,
        classes=tuple(map(str, range(facts.classes))),
        size=size or facts.size,
        channels=3,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        train=MaskSplit(nothing, nothing, facts.classes),
        val=None,
        test=None,
        augment=USUAL,
        notes=(),
    )


def _check_apart(found: Masks) -> None:
    """Raises ValueError where an image to train on is one to score, as in FRSKD's published split."""
    splits = {"train": found.train, "val": found.val, "test": found.test}
    seen: dict[Path, str] = {}
    for place, split in splits.items():
        for path in split.images if split else ():
            if seen.setdefault(path, place) != place:
                raise ValueError(
                    f"image {path.stem!r} stands in the list of {place} and in that of"
                    f" {seen[path]}: what is scored must not be trained on; take it from one of them"
                )


def _readable(found: Masks, skip_bad: bool) -> Masks:
    """`found` without the images and masks that cannot be read, where those may be skipped."""
    splits = [split for split in (found.train, found.val, found.test) if split is not None]
    faults = check([path for split in splits for path in (*split.images, *split.masks)])
    if faults and not skip_bad:
        raise faults[0]
    if not faults:
        return found
    bad = {fault.path for fault in faults}
    names = ", ".join(path.name for path in sorted(bad)[:5]) + (", …" if len(bad) > 5 else "")

    def good(split: MaskSplit) -> MaskSplit:
        pairs = enumerate(zip(split.images, split.masks))
        return split.take(
            torch.tensor([n for n, pair in pairs if not bad & {*pair}], dtype=torch.long)
        )

    found = found.each(good)
    if not len(found.train):
        raise ValueError("no training image can be read together with its mask: repair them")
    files = "1 unreadable file" if len(bad) == 1 else f"{len(bad)} unreadable files"
    return found.noting(f"{files} skipped: {names}")


def _cut(found: Masks, val: float, fraction: float, seed: int) -> Masks:
    """The splits that are missing, cut from train; then the part of train that was asked for."""
    if found.test is None:
        train, test = _held_out(found.train, HELD_OUT, 0)
        found = replace(found, train=train, test=test).noting(
            f"no list of test images: cut {HELD_OUT:.0%} for test, always the same"
        )
    if found.val is None and val > 0:
        train, held = _held_out(found.train, val, seed)
        found = replace(found, train=train, val=held)
    if fraction < 1:
        count = max(1, round(fraction * len(found.train)))
        order = torch.randperm(len(found.train), generator=generator(seed))
        found = replace(found, train=found.train.take(order[:count].sort().values))
    return found


def _held_out(split: MaskSplit, share: float, seed: int) -> tuple[MaskSplit, MaskSplit]:
    """A split without a share of its images, one at least, and that share. Raises ValueError."""
    if len(split) < 2:
        raise ValueError("there is one training image: none can be set aside to validate or test")
    order = torch.randperm(len(split), generator=generator(seed))
    count = min(max(1, round(share * len(split))), len(split) - 1)
    return split.take(order[count:].sort().values), split.take(order[:count].sort().values)


def _measure(split: MaskSplit, size: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation (3,) of the channels, in units of [0, 1]. Raises BadImage."""
    images = stack(split.images[:MEASURED], min(size, 128)).float().div_(255)
    std, mean = torch.std_mean(images, (0, 2, 3))
    return mean, torch.where(std > 0, std, 1.0)
