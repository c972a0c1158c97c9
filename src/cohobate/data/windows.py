"""Images in memory that are cropped and flipped by one copy each."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cohobate.data.augment import Augment, Crop, Flip, windows

AHEAD = 64
"""Batches whose random numbers are drawn at once: one alone takes as many operations."""


class Windows:
    """Images on the device, given as a first step `Crop` and a second step `Flip` leave them.

    Each lies there padded, with its mirror image behind it: all windows of the two are there and
    have but to be copied. It takes three times the memory of the images.

    steps: the `window` of `augment`.
    """

    def __init__(self, images: Tensor, steps: tuple[Crop, Flip], augment: Augment, views: int):
        self.crop, self.flip = steps
        self.augment, self.views, self.size = augment, views, images.shape[-1]
        padded = self.crop.padded(images)
        self.images = torch.stack([padded, padded.flip(-1)], 1).flatten(0, 1)

    def batches(self, epoch: int, rows: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """For each (B,) of `rows`: itself on the device, and of each view the images (B, 3, S, S)."""
        for some in rows.to(self.images.device).split(AHEAD):
            views = [self._first(epoch, some, view) for view in range(self.views)]
            for ids, *firsts in zip(some, *views):
                yield ids, [windows(self.images, first, self.size) for first in firsts]

    def _first(self, epoch: int, ids: Tensor, view: int) -> Tensor:
        """Where the window of each image (...) begins."""
        place, turn, *_ = self.augment.draw(epoch, ids, view)
        top, left = self.crop.corners(place, self.size)
        flipped = self.flip.chosen(turn)
        width = self.images.shape[-1]
        left = torch.where(flipped, width - self.size - left, left)  # seen in the mirror
        return (2 * ids + flipped) * self.images[0].numel() + top * width + left
