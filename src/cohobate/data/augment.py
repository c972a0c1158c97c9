"""Augmentations of a whole batch at once, every sample with its own draw.

An augmentation turns uint8 images (B, 3, S, S) and numbers in [0, 1), (B, draws), into images of
the same shape. Which numbers an image gets is a pure function of (seed, epoch, id, view).
"""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.core import unknown
from cohobate.data.draws import uniform
from cohobate.data.policies import AugMix, AutoAugment, RandAugment, TrivialAugment

RGB = tuple[float, float, float]
GREY: RGB = (0.5, 0.5, 0.5)


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
        pad = self.padding(size)
        padded = F.pad(images, (pad, pad, pad, pad))
        first = torch.arange(len(images), device=images.device) * padded[0].numel()
        top, left = self.corners(draws, size)
        return windows(padded, first + top * padded.shape[-1] + left, size)

    def padding(self, size: int) -> int:
        """Pixels of black on each side."""
        return size // 8

    def corners(self, draws: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Top and left (...) of the windows of draws (..., 2), in pixels of the padded images."""
        top, left = (draws * (2 * self.padding(size) + 1)).long().unbind(-1)
        return top, left


def windows(images: Tensor, first: Tensor, size: int) -> Tensor:
    """Parts (B, C, size, size) of images (N, C, H, W).

    first: (B,) where the first pixel of each part lies in `images.flatten()`.

    From its first pixel to its last, a part is one stretch of memory. Stretches are copied whole,
    which takes a tenth of the time of choosing pixels.
    """
    _, channels, height, width = images.shape
    strides = (height * width, width, 1)
    length = 1 + (channels - 1) * strides[0] + (size - 1) * (width + 1)
    stretches = images.flatten().unfold(0, length, 1).index_select(0, first)
    return stretches.as_strided((len(first), channels, size, size), (length, *strides))


class Flip:
    """Left and right exchanged, for every second image."""

    draws = 1

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        # `torch.where` takes several times as long on bytes as this exchange of bits.
        bits = -self.chosen(draws).to(images.dtype)[:, None, None, None]  # all, or none
        return (images ^ images.flip(-1)).bitwise_and_(bits).bitwise_xor_(images)

    def chosen(self, draws: Tensor) -> Tensor:
        """Which images (...) of draws (..., 1) are flipped."""
        return draws[..., 0] < 0.5


class ResizedCrop:
    """A part of 8 to 100 % of the area and 3:4 to 4:3 in shape, resized to the whole, bilinear.

    The first of ten drawn shapes that fits is placed at random; where none fits, the largest
    central part of an allowed shape is taken, as in torchvision's `RandomResizedCrop`.
    """

    tries = 10
    draws = 2 * tries + 2
    area = (0.08, 1.0)
    shape = (3 / 4, 4 / 3)

    def boxes(self, draws: Tensor, width: Tensor | int, height: Tensor | int) -> Tensor:
        """Left, top, width and height (B, 4), in whole pixels of images of that size.

        width, height: of all images, or (B, 1) of each.
        """
        width, height = (torch.zeros_like(draws[:, :1]) + side for side in (width, height))
        smallest, largest = self.area
        narrow, wide = (math.log(shape) for shape in self.shape)
        area, shape, place = draws.split([self.tries, self.tries, 2], 1)
        area = width * height * (smallest + (largest - smallest) * area)
        shape = (narrow + (wide - narrow) * shape).exp()
        across, down = (area * shape).sqrt().round(), (area / shape).sqrt().round()
        fits = (across >= 1) & (across <= width) & (down >= 1) & (down <= height)
        first = fits.byte().argmax(1, keepdim=True)
        across, down = across.gather(1, first), down.gather(1, first)
        left = (place[:, :1] * (width - across + 1)).floor()
        top = (place[:, 1:] * (height - down + 1)).floor()
        drawn, central = torch.cat([left, top, across, down], 1), self.central(width, height)
        return torch.where(fits.any(1, keepdim=True), drawn, central)

    def central(self, width: Tensor, height: Tensor) -> Tensor:
        """The largest central parts (B, 4) of an allowed shape, of images of sizes (B, 1)."""
        narrow, wide = self.shape
        across = width.minimum((height * wide).round())
        down = height.minimum((width / narrow).round())
        left, top = ((width - across) / 2).floor(), ((height - down) / 2).floor()
        return torch.cat([left, top, across, down], 1)

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


class Cutout:
    """A square of a quarter of the side, anywhere and clipped at the border, is filled with the mean.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
    https://arxiv.org/abs/1708.04552: 8 pixels at 32, as for CIFAR-100.
    """

    draws = 2

    def __init__(self, mean: RGB = GREY):
        self.mean = mean

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        size = images.shape[-1]
        corner = (draws * size).floor() - size // 4 // 2
        return filled(images, corner, corner + size // 4, self.mean)


class RandomErasing:
    """A box of 2 to 40 % of the area and 3:10 to 10:3 in shape, in every second image, is filled.

    Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, https://arxiv.org/abs/1708.04896,
    algorithm 1, with the mean of the set. The first of ten drawn boxes that fits is taken; where
    none fits, the image stays.
    """

    tries = 10
    draws = 1 + 2 * tries + 2
    chance = 0.5
    area = (0.02, 0.4)
    shape = (0.3, 1 / 0.3)

    def __init__(self, mean: RGB = GREY):
        self.mean = mean

    def boxes(self, draws: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """First and end rows and columns, (B, 2) each; the same where nothing is erased."""
        chosen, area, shape, place = draws.split([1, self.tries, self.tries, 2], 1)
        area = size**2 * (self.area[0] + (self.area[1] - self.area[0]) * area)
        shape = self.shape[0] + (self.shape[1] - self.shape[0]) * shape
        sides = torch.stack([(area * shape).sqrt().round(), (area / shape).sqrt().round()], 2)
        fits = (sides < size).all(2)
        first = fits.byte().argmax(1)
        side = sides[torch.arange(len(sides), device=sides.device), first]
        side = side * (fits.any(1, keepdim=True) & (chosen < self.chance))
        corner = (place * (size - side + 1)).floor()
        return corner, corner + side

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return filled(images, *self.boxes(draws, images.shape[-1]), self.mean)


def filled(images: Tensor, first: Tensor, end: Tensor, colour: RGB) -> Tensor:
    """Images (B, 3, S, S) with a box of one colour: rows and columns `first` to before `end`, (B, 2)."""
    line = torch.arange(images.shape[-1], device=images.device)
    rows, columns = ((line >= first[..., None]) & (line < end[..., None])).unbind(1)
    inside = (rows[:, :, None] & columns[:, None])[:, None]
    paint = torch.tensor(colour).mul(255).round().to(images.dtype).view(3, 1, 1)
    return torch.where(inside, paint.to(images.device), images)


AUGMENTS: dict[str, type[Augmentation]] = {
    "augmix": AugMix,
    "autoaugment": AutoAugment,
    "crop": Crop,
    "cutout": Cutout,
    "flip": Flip,
    "randaugment": RandAugment,
    "random_erasing": RandomErasing,
    "resized_crop": ResizedCrop,
    "trivialaugment": TrivialAugment,
}


def check_augments(names: Iterable[str], choices: Collection[str]) -> None:
    """Raises ValueError for an augmentation that is none of those that a task has."""
    for name in names:
        if name not in choices:
            raise unknown("augmentation in data.augment", name, choices)


class Augment:
    """The augmentations of a run, in order, with their random numbers.

    mean: of the channels, in units of [0, 1], for those that paint over a part of an image.
    Raises ValueError for a name that is not in `AUGMENTS`.
    """

    def __init__(self, names: Sequence[str], seed: int, mean: RGB = GREY):
        check_augments(names, AUGMENTS)
        kinds = [AUGMENTS[name] for name in names]
        self.steps = [
            kind(mean) if issubclass(kind, Cutout | RandomErasing) else kind() for kind in kinds
        ]
        self.seed = seed

    def draw(self, epoch: int, ids: Tensor, view: int) -> tuple[Tensor, ...]:
        """The numbers (..., draws) of each step, for one view of the images `ids` (...)."""
        counts = [step.draws for step in self.steps]
        return uniform(self.seed, epoch, ids, view, sum(counts)).split(counts, -1)

    @property
    def frame(self) -> ResizedCrop | None:
        """The first step, if it can choose its part of a large file while that is being read."""
        first = self.steps[0] if self.steps else None
        return first if isinstance(first, ResizedCrop) else None

    @property
    def windowed(self) -> bool:
        """Whether the first two steps choose a window of an image or of its mirror image."""
        return [type(step) for step in self.steps[:2]] == [Crop, Flip]

    def __call__(self, images: Tensor, epoch: int, ids: Tensor, view: int, done: int = 0) -> Tensor:
        """One view of uint8 images (B, 3, S, S).

        done: how many steps, from the first on, were taken already as the images were fetched.
        """
        if done == len(self.steps):
            return images
        for step, draws in list(zip(self.steps, self.draw(epoch, ids, view)))[done:]:
            images = step(images, draws)
        return images
