"""Augmentations of a whole batch at once, every sample with its own draw.

An augmentation turns uint8 images (B, 3, S, S) and numbers in [0, 1), (B, draws), into images of
the same shape. Which numbers an image gets is a pure function of (seed, epoch, id, view).
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.core import unknown
from cohobate.data.draws import uniform


class Augmentation(Protocol):
    """What every entry of `AUGMENTS` is.

    draws: random numbers wanted of each sample.
    """

    draws: int

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor: ...


class Crop:
    """A window of the image's own size, at a random place in the image padded with black.

    The padding is an eighth of the side: 4 pixels at 32.
    """

    draws = 2

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        size = images.shape[-1]
        pad = size // 8
        top, left = (draws * (2 * pad + 1)).long().unbind(1)
        line = torch.arange(size, device=images.device)
        rows, columns = top[:, None] + line, left[:, None] + line  # (B, S)
        pixels = (rows[:, :, None] * (size + 2 * pad) + columns[:, None]).flatten(1)
        padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
        picked = padded.gather(2, pixels[:, None].expand(-1, images.shape[1], -1))
        return picked.view_as(images)


class Flip:
    """Left and right exchanged, for every second image."""

    draws = 1

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return torch.where(draws[:, :, None, None] < 0.5, images.flip(-1), images)


class ResizedCrop:
    """A part of 8 to 100 % of the area and 3:4 to 4:3 in shape, resized to the whole, bilinear.

    The first of ten drawn shapes that fits is placed at random; where none fits, the largest
    central part of an allowed shape is taken, as in torchvision's `RandomResizedCrop`.
    """

    tries = 10
    draws = 2 * tries + 2
    area = (0.08, 1.0)
    shape = (3 / 4, 4 / 3)

    def boxes(self, draws: Tensor, width: int, height: int) -> Tensor:
        """Left, top, width and height (B, 4) in whole pixels of an image of that size."""
        smallest, largest = self.area
        narrow, wide = (math.log(shape) for shape in self.shape)
        area, shape, place = draws.split([self.tries, self.tries, 2], 1)
        area = width * height * (smallest + (largest - smallest) * area)
        shape = (narrow + (wide - narrow) * shape).exp()
        across, down = (area * shape).sqrt().round(), (area / shape).sqrt().round()
        fits = (across >= 1) & (across <= width) & (down >= 1) & (down <= height)
        first = fits.byte().argmax(1, keepdim=True)
        across, down = across.gather(1, first)[:, 0], down.gather(1, first)[:, 0]
        left = (place[:, 0] * (width - across + 1)).floor()
        top = (place[:, 1] * (height - down + 1)).floor()
        drawn, fixed = (left, top, across, down), self.central(width, height)
        found = fits.any(1)
        return torch.stack([torch.where(found, d, f) for d, f in zip(drawn, fixed)], 1)

    def central(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The largest central part of an allowed shape: left, top, width, height."""
        narrow, wide = self.shape
        across = min(width, round(height * wide))
        down = min(height, round(width / narrow))
        return (width - across) // 2, (height - down) // 2, across, down

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        size = images.shape[-1]
        corner, side = self.boxes(draws, size, size).split(2, 1)
        line = (torch.arange(size, device=images.device) + 0.5) / size
        across, down = ((corner[..., None] + side[..., None] * line) * (2 / size) - 1).unbind(1)
        grid = torch.stack(
            [across[:, None].expand(-1, size, -1), down[:, :, None].expand(-1, -1, size)], 3
        )
        resized = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        return resized.round().to(images.dtype)


AUGMENTS: dict[str, type[Augmentation]] = {
    "crop": Crop,
    "flip": Flip,
    "resized_crop": ResizedCrop,
}


class Augment:
    """The augmentations of a run, in order, with their random numbers.

    Raises ValueError for a name that is not in `AUGMENTS`.
    """

    def __init__(self, names: Sequence[str], seed: int):
        for name in names:
            if name not in AUGMENTS:
                raise unknown("augmentation in data.augment", name, AUGMENTS)
        self.steps = [AUGMENTS[name]() for name in names]
        self.seed = seed

    def draw(self, epoch: int, ids: Tensor, view: int) -> tuple[Tensor, ...]:
        """The numbers (B, draws) of each step, for one view of the images `ids` (B,)."""
        counts = [step.draws for step in self.steps]
        return uniform(self.seed, epoch, ids, view, sum(counts)).split(counts, 1)

    @property
    def frame(self) -> ResizedCrop | None:
        """The first step, if it can choose its part of a large file while that is being read."""
        first = self.steps[0] if self.steps else None
        return first if isinstance(first, ResizedCrop) else None

    def __call__(
        self, images: Tensor, epoch: int, ids: Tensor, view: int, framed: bool = False
    ) -> Tensor:
        """One view of uint8 images (B, 3, S, S).

        framed: `frame` was applied already, as the files were read.
        """
        steps = list(zip(self.steps, self.draw(epoch, ids, view)))
        for step, draws in steps[1:] if framed else steps:
            images = step(images, draws)
        return images
