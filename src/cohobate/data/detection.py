"""Data sets for detection by name: read, checked, cut into train, val and test, measured."""

from collections import Counter
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import torch

from cohobate.core import counted
from cohobate.data import dense
from cohobate.data.annotations import Picture, Pictures, box_split, sentences
from cohobate.data.boxes import BoxSplit
from cohobate.data.classification import ImageSet
from cohobate.data.coco import read_coco
from cohobate.data.dense import Facts
from cohobate.data.images import SKIP, THREADS, BadImage, check, dimensions
from cohobate.data.shapes import made
from cohobate.data.splits import Splits
from cohobate.data.voc import read_voc, read_voc0712, read_voc2007, read_voc2012
from cohobate.data.yolo import read_yolo

Boxes = Splits[BoxSplit]


def read_shapes(name: str, root: Path | None, download: bool) -> Pictures:
    """The pictures of discs, squares and triangles, drawn where they are not there."""
    return read_coco(name, made(root), download)


SETS = {
    "coco": Facts(read_coco, 640),
    "shapes": Facts(read_shapes, 64, 3, 160),
    "voc": Facts(read_voc, 640),
    "voc0712": Facts(read_voc0712, 640, 20, 16_551),
    "voc2007": Facts(read_voc2007, 640, 20, 5_011),
    "voc2012": Facts(read_voc2012, 640, 20, 5_717),
    "yolo": Facts(read_yolo, 640),
}
"""The sets by name."""
USUAL = ("flip",)
"""The augmentation that the field uses where training is short."""


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
    """The data set `name` of `SETS`; its splits are `BoxSplit`.

    size: of the long side of the images served. The rest is as for `segmentation.load`.
    """
    facts = dense.known(name, SETS)
    dense.check_options(per_class, "boxes")
    found = facts.read(name, None if root is None else Path(root).expanduser(), download)
    try:
        boxes = _boxes(found, skip_bad)
        dense.check_apart(boxes)
        boxes = dense.cut(boxes, val, fraction, seed)
        _check_boxes(boxes)
        return dense.image_set(name, boxes, size or facts.size, USUAL)
    except BadImage as error:
        raise BadImage(error.path, f"{error.reason}; {SKIP}") from error


def declared(name: str, size: int | None = None) -> ImageSet:
    """A stand-in for a set that is not at hand, by what `SETS` tells of it, as in `classification`.

    Raises ValueError where the table does not tell enough.
    """
    facts = dense.known(name, SETS)
    data = dense.stand_in(name, facts, size, USUAL)
    count, none = facts.train or 0, torch.zeros(0)
    train = BoxSplit(
        images=[Path(str(number)) for number in range(count)],
        sizes=torch.full((count, 2), data.size),
        counts=torch.zeros(count, dtype=torch.int64),
        boxes=none.view(0, 4),
        labels=none.long(),
        area=none,
        crowd=none.bool(),
        classes=len(data.classes),
    )
    return replace(data, train=train)


def _boxes(found: Pictures, skip_bad: bool) -> Boxes:
    """The splits, without the images that cannot be read, where those may be skipped.

    Raises BadImage.
    """
    pictures = [picture for split in found.splits().values() for picture in split]
    faults = {fault.path: fault for fault in check([picture.path for picture in pictures])}
    sizes: dict[Path, tuple[int, int]] = {}

    def measured(picture: Picture) -> None:
        size = sizes[picture.path] = dimensions(picture.path)
        if picture.size and size != picture.size:
            shapes = [f"{width} × {height}" for width, height in (size, picture.size)]
            reason = f"it is {shapes[0]} pixels, and its boxes are for {shapes[1]}"
            faults[picture.path] = BadImage(picture.path, reason)

    with ThreadPool(THREADS) as pool:
        pool.map(measured, [picture for picture in pictures if picture.path not in faults])
    if faults and not skip_bad:
        raise min(faults.values(), key=lambda fault: fault.path)
    odd, classes = Counter[str](), len(found.classes)
    boxes = found.each(
        lambda split: box_split(
            [picture for picture in split if picture.path not in faults], sizes, classes, odd
        )
    )
    for sentence in sentences(odd):
        boxes = boxes.noting(sentence)
    if not faults:
        return boxes
    names = ", ".join(path.name for path in sorted(faults)[:5]) + (", …" if len(faults) > 5 else "")
    return boxes.noting(f"{counted(len(faults), 'unreadable file')} skipped: {names}")


def _check_boxes(found: Boxes) -> None:
    """Raises ValueError for a split in which no image has a box, those of crowds aside."""
    for part, split in found.splits().items():
        if split.crowd.all():
            reason = f"no image of {part} has a box to learn from or to be scored by"
            raise ValueError("; ".join([reason, *found.notes]))
