"""What files tell of boxes, whatever their format, and what of it can be used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cohobate.core import counted
from cohobate.data.boxes import BoxSplit
from cohobate.data.splits import Splits

PARTS = ("train", "val", "test")


class Box(NamedTuple):
    """A box as a file has it.

    corners: left, top, right and bottom. area: of what it is drawn around, None where the file does
    not say. crowd: whether it stands for several things. outline: a COCO segmentation.
    """

    label: int
    corners: tuple[float, float, float, float]
    area: float | None = None
    crowd: bool = False
    outline: Any = None


@dataclass
class Picture:
    """An image file, and the boxes that another file names.

    size: width and height that it should have, where the other file says. shares: whether corners
    are shares of them, else pixels.
    """

    path: Path
    boxes: list[Box] = field(default_factory=list)
    size: tuple[int, int] | None = None
    shares: bool = False


Pictures = Splits[list[Picture]]
"""What a reader of images with boxes found."""


def numbers(values: Any, place: str) -> list[float]:
    """Four finite numbers. Raises ValueError."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or not all(map(isfinite, numbers)):
        raise ValueError(f"{place} has bbox {values!r}: four numbers are wanted")
    return numbers


def arranged(
    classes: tuple[str, ...], found: dict[str, list[Picture]], missing: str, other: str
) -> Pictures:
    """The splits that were found; with none to test on, val is the test set."""
    if "test" in found or "val" not in found:
        return Splits(classes, found["train"], found.get("val"), found.get("test"))
    note = f"no {missing}: {other} is the test set"
    return Splits(classes, found["train"], None, found["val"], (note,))


def box_split(
    pictures: Sequence[Picture],
    sizes: Mapping[Path, tuple[int, int]],
    classes: int,
    odd: Counter[str],
) -> BoxSplit:
    """The split of these pictures, whose boxes are clipped to their images.

    sizes: width and height of each image. Boxes of no area, or wholly outside, are left out.
    odd: is told how many there are of what is not as it should be.
    """
    every = [box for picture in pictures for box in picture.boxes]
    shapes = torch.tensor([sizes[picture.path] for picture in pictures], dtype=torch.int64)
    shapes = shapes.view(-1, 2)
    owner = torch.arange(len(pictures)).repeat_interleave(
        torch.tensor([len(picture.boxes) for picture in pictures], dtype=torch.int64)
    )
    edge = shapes[owner].repeat(1, 2)  # width, height, width, height
    shares = torch.tensor([picture.shares for picture in pictures], dtype=torch.bool)[owner]
    corners = torch.tensor([box.corners for box in every], dtype=torch.float64).view(-1, 4)
    corners = torch.where(shares[:, None], corners * edge, corners).float()
    inside = corners.clamp_min(0).minimum(edge.float())
    flat, outside = ((each[:, 2:] <= each[:, :2]).any(1) for each in (corners, inside))
    kept = ~(flat | outside)
    counts = torch.bincount(owner[kept], minlength=len(pictures))
    beyond = ((corners - inside).abs() > 0.5).any(1)  # less is rounding
    odd["flat"] += int(flat.sum())
    odd["outside"] += int((outside & ~flat).sum())
    odd["beyond"] += int((beyond & kept).sum())
    odd["negative"] += int((counts == 0).sum())
    chosen = [every[place] for place in kept.nonzero().flatten().tolist()]
    boxes = inside[kept]
    spans = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    areas = [0.0 if box.area is None else box.area for box in chosen]
    area = torch.tensor(areas, dtype=torch.float32)
    area = torch.where(area > 0, area, spans)
    sides = shapes[owner[kept]].tolist()
    outlined = [_is_outline(box.outline, *side) for box, side in zip(chosen, sides)]
    odd["crowd"] += sum(box.crowd for box in chosen)
    odd["area"] += sum(box.area is not None and not box.area > 0 for box in chosen)
    if any(box.outline is not None for box in chosen):
        odd["outline"] += len(outlined) - sum(outlined)
    return BoxSplit(
        images=[picture.path for picture in pictures],
        sizes=shapes.flip(1),
        counts=counts,
        boxes=boxes,
        labels=torch.tensor([box.label for box in chosen], dtype=torch.int64),
        area=area,
        crowd=torch.tensor([box.crowd for box in chosen], dtype=torch.bool),
        classes=classes,
        outlines=[box.outline for box in chosen] if outlined and all(outlined) else None,
    )


def _is_outline(value: Any, wide: int, high: int) -> bool:
    """Whether a COCO segmentation is polygons of three points or more, or runs of an image's size."""
    if isinstance(value, dict):
        return value.get("size") == [high, wide] and _are_runs(value.get("counts"), wide * high)
    if not isinstance(value, list) or not value:
        return False
    return all(map(_is_polygon, value))


def _are_runs(value: Any, pixels: int) -> bool:
    """Whether these are lengths that sum to so many pixels, or a text, which stands for such."""
    if not isinstance(value, list):
        return isinstance(value, str)
    return all(isinstance(run, int) and run >= 0 for run in value) and sum(value) == pixels


def _is_polygon(value: Any) -> bool:
    """Whether these are the places of three points or more, one after the other."""
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        return False
    return all(isinstance(side, (int, float)) and isfinite(side) for side in value)


def sentences(odd: Counter[str]) -> list[str]:
    """For the run's summary, what `box_split` counted."""
    boxes = {
        "flat": "no area: left out",
        "outside": "no part within their image: left out",
        "beyond": "a part outside of their image: clipped",
        "area": "an area that is not above zero: taken from the box",
        "outline": "an outline that is none: masks of such a split are not learnt",
    }
    said = [f"{counted(odd[key], 'box')} with {what}" for key, what in boxes.items() if odd[key]]
    if odd["crowd"]:
        said.append(f"{counted(odd['crowd'], 'box')} of crowds: neither taught nor missed")
    if odd["negative"]:
        said.append(f"{counted(odd['negative'], 'image')} without a box: kept as negatives")
    return said
