"""Images in memory that are cropped and flipped by one copy each."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cohobate.data.augment import Augment, Crop, Flip, windows

AHEAD = 64
"""Batches whose random numbers are drawn at once: one alone takes as many operations."""


class Windows:
    """Images on the device, given as a first step `Crop` and a second step `Flip` leave them.

    Each lies there padded, and its mirror image behind it, so that every window of either is one
    stretch of memory and has but to be copied. It takes three times the memory of the images.

    augment: begins with those two steps.
    """

    def __init__(self, images: Tensor, augment: Augment, views: int):
        self.augment, self.views, self.size = augment, views, images.shape[-1]
        self.crop, self.flip = Crop(), Flip()
        pad = self.crop.padding(self.size)
        self.width = self.size + 2 * pad
        both = images.new_zeros(len(images), 2, images.shape[1], self.width, self.width)
        inner = both.narrow(3, pad, self.size).narrow(4, pad, self.size)
        inner[:, 0], inner[:, 1] = images, images.flip(-1)
        self.images = both.flatten(0, 1)

    def batches(self, epoch: int, rows: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """For each (B,) of `rows`: itself on the device, and of each view the images (B, 3, S, S)."""
        for some in rows.to(self.images.device).split(AHEAD):
            views = [self._first(epoch, some, view) for view in range(self.views)]
            for ids, *firsts in zip(some, *views):
                yield ids, [windows(self.images, first, self.size) for first in firsts]

    def _first(self, epoch: int, ids: Tensor, view: int) -> Tensor:
        """Where in `images` the window of each image (...) begins."""
        place, turn, *_ = self.augment.draw(epoch, ids, view)
        top, left = self.crop.corners(place, self.size)
        flipped = self.flip.chosen(turn)
        left = torch.where(flipped, self.width - self.size - left, left)  # as a mirror shows it
        return (2 * ids + flipped) * self.images[0].numel() + top * self.width + left
