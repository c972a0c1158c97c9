"""Batches for training and evaluation, from memory or from files, augmented on the device."""

import signal
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cohobate.core import Batch, cores
from cohobate.data.augment import GREY, RGB, Augment
from cohobate.data.images import SKIP, BadImage, Place, centre, dimensions, known, parts
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split
from cohobate.data.windows import Windows

EVALUATED = 7 / 8
"""The share of a photograph's short side that evaluation looks at: 224 of 256 pixels."""


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
            self.source = _Workers(files, self.device, workers, lasting=True)

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
    Process `rank` of `world` takes every `world`-th image; of fewer images than processes each
    takes all, so that nobody has none to score, and means over all stay. The last batch may be
    smaller.

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
        mine = slice(rank, None, world) if len(split) >= world else slice(None)
        self.rows = torch.arange(len(split))[mine].split(batch_size)
        if isinstance(split.images, Tensor):
            assert split.images.shape[-1] == size, "images in memory have the size of their set"
            self.source = _Memory(split.images.to(self.device))
        else:
            files = _Files(split.images, size, share=share)
            self.source = _Workers(files, self.device, workers, lasting=False)

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


class _Workers:
    """Images that processes read from files, some batches ahead."""

    def __init__(self, files: "_Files", device: torch.device, workers: int | None, lasting: bool):
        workers = processes(workers)
        self.device = device
        self.requests: list[tuple[int, list[int]]] = []  # filled anew for every epoch
        self.loader = DataLoader(
            files,
            sampler=self.requests,
            batch_size=None,
            num_workers=workers,
            persistent_workers=lasting and workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=leave_signals if workers else None,
            generator=torch.Generator(),  # else every epoch would draw from the global one
        )

    def batches(
        self, epoch: int, rows: Iterable[Tensor]
    ) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        """For each (B,) of `rows`: itself on the device, and the images (B, 3, S, S) of each view.

        Where no step is done as files are read, one serves all views. Raises BadImage.
        """
        rows = list(rows)
        self.requests[:] = [(epoch, row.tolist()) for row in rows]
        for row, images in zip(rows, self.loader):
            if isinstance(images, BadImage):
                raise BadImage(images.path, f"{images.reason}; {SKIP}")
            images = images.to(self.device, non_blocking=True)
            yield row.to(self.device, non_blocking=True), images.unbind(1)


def processes(workers: int | None) -> int:
    """How many processes read files: as many as were asked for, else one a core, at most 8."""
    return min(cores(), 8) if workers is None else workers


def leave_signals(_: int) -> None:
    """Ctrl-C reaches every process of a terminal; the one that trains decides when all stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class _Files(Dataset):
    """Whole batches of files, asked for by (epoch, rows): uint8 (B, 1 or views, 3, S, S).

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
            return torch.stack(
                [parts(self.paths[row], place, self.size) for row, place in zip(rows, places)]
            )
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
