"""Batches for training and evaluation, from memory or from files, augmented on the device."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cohobate.core import Batch
from cohobate.data.augment import GREY, RGB, Augment
from cohobate.data.images import BadImage, Place, centre, dimensions, known, parts
from cohobate.data.sampling import Sampler, rows_of
from cohobate.data.splits import Split
from cohobate.data.windows import Windows
from cohobate.data.workers import Workers

EVALUATED = 7 / 8
"""The share of a photograph's short side that evaluation looks at: 224 of 256 pixels."""


def looked_at(facts: Mapping[str, Any]) -> float:
    """The same share as timm's facts about a network say it (`crop_pct`), of what a photograph has.

    timm pads photographs for the few networks that want more than all of it.
    """
    return min(facts.get("crop_pct") or EVALUATED, 1.0)


class TrainLoader:
    """Augmented batches of a split, in the order of a sampler.

    augment: names from `AUGMENTS`, applied in that order.
    size: side of the images served, in pixels; what is in memory has it already.
    views: augmented views of each image, each with draws of its own.
    distort: names from `AUGMENTS` that make the other views of the first one, in place of `augment`.
    seed: of the augmentation, which is a pure function of (seed, epoch, id, view).
    mean: of the channels, for augmentations that paint over a part of an image.
    workers: processes that read files; None means one a core, at most 8. Memory needs none.

    Raises ValueError for an unknown augmentation, and BadImage while iterating.
    """

    def __init__(
        self,
        split: Split,
        sampler: Sampler,
        *,
        augment: Sequence[str],
        size: int,
        views: int = 1,
        distort: Sequence[str] = (),
        seed: int = 0,
        mean: RGB = GREY,
        device: torch.device | str = "cpu",
        workers: int | None = None,
    ):
        self.sampler, self.views, self.device = sampler, views, torch.device(device)
        self.augment, self.distort = (Augment(names, seed, mean) for names in (augment, distort))
        self.fetched = 1 if distort else views  # views that are made of the image itself
        self.targets = split.targets.to(self.device)
        if isinstance(split.images, Tensor):
            assert split.images.shape[-1] == size, "images in memory have the size of their set"
            images = split.images.to(self.device)
            self.done = 2 if self.augment.windowed else 0  # steps that the source takes itself
            self.source = (
                Windows(images, self.augment, self.fetched) if self.done else _Memory(images)
            )
        else:
            self.done = 1 if self.augment.frame else 0
            files = _Files(split.images, size, augment=self.augment, views=self.fetched)
            self.source = Workers(files, self.device, workers, lasting=True)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one at position `start` on.

        images: float32 in [0, 1], (B, 3, size, size), or (B, views, 3, size, size) for views > 1.
        """
        for ids, images in self.source.batches(epoch, self.sampler.rows(epoch)[start:]):
            seen = [
                self.augment(images[view if self.done else 0], epoch, ids, view, self.done)
                for view in range(self.fetched)
            ]
            others = range(self.fetched, self.views)
            seen += [self.distort(seen[0], epoch, ids, view) for view in others]
            views = seen[0] if self.views == 1 else torch.stack(seen, 1)
            yield Batch(views.float().div_(255), self.targets.index_select(0, ids), ids)


class EvalLoader:
    """The images of a split once, in order, as they are; photographs by their central square.

    share: of a photograph's short side, that which the square takes.
    Process `rank` of `world` takes its own, as `sampling.rows_of` has it. The last batch may be smaller.

    Raises BadImage while iterating.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int,
        batch_size: int,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        share: float = EVALUATED,
        rank: int = 0,
        world: int = 1,
    ):
        self.device = torch.device(device)
        self.targets = split.targets.to(self.device)
        self.rows = torch.tensor(rows_of(rank, world, len(split))).split(batch_size)
        if isinstance(split.images, Tensor):
            assert split.images.shape[-1] == size, "images in memory have the size of their set"
            self.source = _Memory(split.images.to(self.device))
        else:
            files = _Files(split.images, size, share=share)
            self.source = Workers(files, self.device, workers, lasting=False)

    def __len__(self) -> int:
        """Batches of this process."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        for ids, images in self.source.batches(0, self.rows):
            yield Batch(images[0].float().div_(255), self.targets.index_select(0, ids), ids)


class _Memory:
    """Images that lie on the device once, as one uint8 tensor."""

    def __init__(self, images: Tensor):
        self.images = images

    def batches(self, epoch: int, rows: Iterable[Tensor]) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """For each (B,) of `rows`: itself on the device, and the images (B, 3, S, S)."""
        for row in rows:
            ids = row.to(self.images.device, non_blocking=True)
            yield ids, [self.images.index_select(0, ids)]


class _Files(Dataset):
    """Whole batches of files, asked for by (epoch, rows): uint8 (1 or views, B, 3, S, S).

    A file is read by its central square, of `share` of its short side; or, where `augment` begins
    with a step that chooses a part itself, by the parts which that draws for each view.
    """

    def __init__(
        self,
        paths: list[Path],
        size: int,
        *,
        share: float = 1.0,
        augment: Augment | None = None,
        views: int = 1,
    ):
        self.paths, self.size, self.share, self.views = paths, size, share, views
        self.augment = augment

    def __getitem__(self, request: tuple[int, list[int]]) -> Tensor | BadImage:
        """The batch, or the fault of its first bad file: an error would arrive as a traceback."""
        epoch, rows = request
        try:
            places = self._places(epoch, torch.tensor(rows))
            images = [parts(self.paths[row], place, self.size) for row, place in zip(rows, places)]
            return torch.stack(images, 1)
        except BadImage as error:
            return error

    def _places(self, epoch: int, ids: Tensor) -> list[Place]:
        """For each file, the boxes to read. Those that are drawn are drawn for all files at once."""
        if self.augment is None or self.augment.frame is None:
            return [partial(centre, share=self.share)] * len(ids)
        sizes = torch.tensor([dimensions(self.paths[row]) for row in ids.tolist()])
        draws = [self.augment.draw(epoch, ids, view)[0] for view in range(self.views)]
        boxes = [self.augment.frame.boxes(drawn, *sizes.split(1, 1)) for drawn in draws]
        return [partial(known, chosen) for chosen in torch.stack(boxes, 1)]
