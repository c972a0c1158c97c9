"""Data sets for segmentation by name: read, checked, cut into train, val and test, measured."""

from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import torch

from cohobate.core import VOID, counted
from cohobate.data import dense, labels, layouts
from cohobate.data.classification import ImageSet
from cohobate.data.dense import Facts
from cohobate.data.images import SKIP, THREADS, BadImage, check, or_fault
from cohobate.data.layouts import Masks
from cohobate.data.masks import MaskSplit
from cohobate.data.serving import CHECKED
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
        found = _checked(dense.cut(found, val, fraction, seed), skip_bad)
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


def _checked(found: Masks, skip_bad: bool) -> Masks:
    """`found` without the images and masks that are not as they should be, where those may be skipped.

    All are read, but of more than `CHECKED` to train on, of which the headers alone are. Raises BadImage
    where none may be skipped, and ValueError for a split in which nothing is of a class.
    """
    faults, good = list[BadImage](), dict[str, MaskSplit]()
    for part, split in found.splits().items():
        looks = _looks(split, skip_bad or part != "train" or len(split) <= CHECKED)
        faults += [look for look in looks if isinstance(look, BadImage)]
        if faults and not skip_bad:
            raise faults[0]
        rows = [row for row, look in enumerate(looks) if not isinstance(look, BadImage)]
        if not rows:
            raise ValueError(f"no image of {part} can be read together with its mask: repair them")
        if not any(looks[row] for row in rows):
            raise ValueError(
                f"in the masks of {part} every pixel is void ({VOID}): there is nothing to learn or to"
                " score; give it images with something of a class"
            )
        good[part] = split.take(torch.tensor(rows)) if len(rows) < len(split) else split
    if not faults:
        return found
    names = ", ".join(sorted(fault.path.name for fault in faults)[:5])
    listed = names + (", …" if len(faults) > 5 else "")
    return replace(found, **good).noting(f"{counted(len(faults), 'bad file')} skipped: {listed}")


def _looks(split: MaskSplit, whole: bool) -> list[BadImage | bool]:
    """Of each image what is wrong with it or its mask, or else whether it shows something of a class.

    whole: whether the files are read to their end; else that is taken for granted.
    """
    faults = {fault.path: fault for fault in check(split.images)} if whole else {}

    def shows(row: int) -> bool:
        if fault := faults.get(split.images[row]):
            raise fault
        if whole:
            return bool((split.mask(row) != VOID).any())
        labels.check(split.masks[row], split.images[row])
        return True

    with ThreadPool(THREADS) as pool:
        return pool.map(lambda row: or_fault(lambda: shows(row)), range(len(split)))
