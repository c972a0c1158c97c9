"""From what lies on disk to what is served: readable, square, of one size, and measured."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from cohobate.data.draws import generator
from cohobate.data.images import BadImage, check, dimensions, stack
from cohobate.data.splits import Found, Split

PHOTOGRAPH = 224
"""The size, in pixels, at which photographs are served unless asked otherwise."""
SMALL = 96
"""Files served at up to this size, in pixels, are held in memory ..."""
MEMORY = 10**9
"""... if they take no more bytes than this."""
CHECKED = 10_000
"""Up to so many files are all decoded before anything else; of more, a bad one is found when read."""
MEASURED = 2_000
"""Mean, standard deviation and channels of files are those of so many."""


def readable(found: Found, skip_bad: bool) -> Found:
    """`found`, without the files that cannot be read where those may be skipped.

    Raises BadImage where they may not, ValueError where no image of a class is left to train on.
    """
    splits = [split for split in (found.train, found.val, found.test) if split is not None]
    paths = [path for split in splits if isinstance(split.images, list) for path in split.images]
    faults = check(paths) if skip_bad or len(paths) <= CHECKED else []
    if not faults:
        return found
    if not skip_bad:
        count = f"so it is with {len(faults)} of {len(paths):,} images"
        raise BadImage(faults[0].path, f"{faults[0].reason}; {count}")
    bad = {fault.path for fault in faults}

    def good(split: Split) -> Split:
        kept = [row for row, path in enumerate(split.images) if path not in bad]
        return split.take(torch.tensor(kept, dtype=torch.int64))

    names = ["/".join(fault.path.parts[-2:]) for fault in faults[:5]]  # CLASS/FILE
    listed = ", ".join(names) + (", …" if len(faults) > 5 else "")
    what = "1 unreadable image" if len(faults) == 1 else f"{len(faults)} unreadable images"
    found = found.each(good).noting(f"{what} skipped: {listed}")
    counts = torch.bincount(found.train.targets, minlength=len(found.classes))
    if counts.min() == 0:
        raise ValueError(
            f"no training image of class {found.classes[counts.argmin()]!r} can be read: "
            "repair them or remove the class"
        )
    return found


def natural_size(images: Tensor | list[Path]) -> int:
    """The side, in pixels, at which images are best served: their own where they are small.

    Raises BadImage.
    """
    if isinstance(images, Tensor):
        return min(images.shape[2:])
    shapes = [dimensions(path) for path in _sample(images, 200)]
    width = shapes[0][0]
    if set(shapes) == {(width, width)} and width <= SMALL:
        return width
    short = int(torch.tensor(shapes).amin(1).median())
    return min(max(short // 32 * 32, 32), PHOTOGRAPH)


def serve(found: Found, size: int) -> Found:
    """`found` as it is trained on: in memory as uint8 (N, 3, size, size), or large files as paths.

    Raises BadImage.
    """

    def served(split: Split) -> Split:
        if isinstance(split.images, Tensor):
            return Split(squares(split.images, size), split.targets)
        return Split(stack(split.images, size), split.targets)

    images = found.train.images
    if isinstance(images, Tensor):
        height, width = images.shape[2:]
        if height != width:
            found = found.noting(f"images of {width}×{height} are served by their central square")
        return found.each(served)
    count = sum(len(split) for split in (found.train, found.val, found.test) if split is not None)
    return found.each(served) if size <= SMALL and count * 3 * size**2 <= MEMORY else found


def measure(images: Tensor | list[Path], size: int) -> tuple[Tensor, Tensor, int]:
    """Mean (3,) and standard deviation (3,) in units of [0, 1]; channels, 1 where all is grey, else 3.

    Of files, a sample is measured. A constant channel is given the deviation 1, to divide by.
    Raises BadImage.
    """
    if isinstance(images, list):
        images = stack(_sample(images, MEASURED), size)
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (shares * values).sum(1)  # a product of matrices would round each row in its own way
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    grey = torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 1], images[:, 2])
    return mean, torch.where(std > 0, std, 1.0), 1 if grey else 3


def _sample(paths: list[Path], count: int) -> list[Path]:
    """`count` of the paths, the same ones always."""
    order = torch.randperm(len(paths), generator=generator(0))[:count]
    return [paths[row] for row in order.sort().values.tolist()]


def squares(images: Tensor, size: int) -> Tensor:
    """(N, 1 or 3, H, W) to (N, 3, size, size): the central square, resized, grey replicated."""
    side = min(images.shape[2:])
    if images.shape[2] != images.shape[3]:
        images = functional.center_crop(images, [side, side])
    if side != size:  # some at a time: resizing goes through floats
        pieces = images.split(1000)
        images = torch.cat([functional.resize(piece, [size, size]) for piece in pieces])
    return images.expand(-1, 3, -1, -1).contiguous()
