"""Data sets for segmentation by name: read, checked, cut into train, val and test, measured."""

from dataclasses import replace
from pathlib import Path

import torch

from cohobate.data import dense, layouts
from cohobate.data.classification import ImageSet
from cohobate.data.dense import Facts
from cohobate.data.images import SKIP, BadImage, check
from cohobate.data.layouts import Masks
from cohobate.data.masks import MaskSplit
from cohobate.data.shapes import read_shapes

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
    facts = dense.known(name, SETS)
    dense.check_options(per_class, "a mask")
    size = size or facts.size
    found = facts.read(name, None if root is None else Path(root).expanduser(), download)
    dense.check_apart(found)
    try:
        found = dense.cut(_readable(found, skip_bad), val, fraction, seed)
        return dense.image_set(name, found, size, USUAL)
    except BadImage as error:
        raise BadImage(error.path, f"{error.reason}; {SKIP}") from error


def declared(name: str, size: int | None = None) -> ImageSet:
    """A stand-in for a set that is not at hand, by what `SETS` tells of it, as in `classification`.

    Raises ValueError where the table does not tell enough.
    """
    facts = dense.known(name, SETS)
    data = dense.stand_in(name, facts, size, USUAL)
    nothing = [Path(str(number)) for number in range(facts.train or 0)]
    return replace(data, train=MaskSplit(nothing, nothing, len(data.classes)))


def _readable(found: Masks, skip_bad: bool) -> Masks:
    """`found` without the images and masks that cannot be read, where those may be skipped."""
    splits = found.splits().values()
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
