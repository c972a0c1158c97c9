"""Images with boxes: a split of them, and batches that are cropped, scaled, flipped and padded."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from faster_coco_eval.core import mask as coco
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode, functional

from cohobate.core import Batch
from cohobate.data.augment import check_augments
from cohobate.data.draws import uniform
from cohobate.data.framing import GREY, fitted, padded, within
from cohobate.data.images import BadImage, or_fault, window
from cohobate.data.masks import RGB, coloured
from cohobate.data.sampling import Sampler, rows_of
from cohobate.data.splits import some_sizes
from cohobate.data.workers import Workers

AUGMENTS = ("crop", "scale", "flip", "colour")
"""What may be done to an image and its boxes: a part with sides of 1/2 to all of the image's, shown as
large as the whole would be; all made smaller, to 1/2 at most; a mirror image; another brightness,
contrast and saturation."""
DRAWS = 8
CROPS = SCALES = (0.5, 1.0)
AT_ONCE = 16
"""Images in a batch of an evaluation, at most."""
PARTS = ("boxes", "labels", "area", "crowd", "masks")


@dataclass(frozen=True, eq=False)
class BoxSplit:
    """Images and their boxes, of which an image may have none.

    images: the paths of N files. sizes: (N, 2) int64, their heights and widths as displayed.
    counts: (N,) int64, how many boxes each has. The M boxes stand in the order of the images:
    boxes: (M, 4) float32, left, top, right and bottom in pixels, within the image.
    labels: (M,) int64, the class of each, below `classes`.
    area: (M,) float32, in pixels, of what the box is drawn around.
    crowd: (M,) bool, whether it stands for several things, and is neither taught nor missed.
    outlines: of each what COCO calls its segmentation, polygons or runs; None where there are none.
    """

    images: list[Path]
    sizes: Tensor
    counts: Tensor
    boxes: Tensor
    labels: Tensor
    area: Tensor
    crowd: Tensor
    classes: int
    outlines: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> Tensor:
        """(N,) zeros: an image as a whole is of no class."""
        return torch.zeros(len(self), dtype=torch.int64)

    def names(self) -> list[str]:
        """The file of each image, with the folder that it lies in."""
        return [f"{path.parent.name}/{path.name}" for path in self.images]

    def fingerprint(self) -> str:
        """A short text that is another for other images, boxes or order, wherever they lie."""
        mark = blake2b(repr([self.names(), some_sizes(self.images)]).encode(), digest_size=16)
        for part in (self.counts, self.boxes, self.labels, self.crowd):
            mark.update(part.numpy().tobytes())
        return mark.hexdigest()

    def take(self, rows: Tensor) -> "BoxSplit":
        """The rows (R,) of this split, in that order."""
        places = torch.cat([torch.arange(0), *(self.of(row) for row in rows.tolist())])
        return replace(
            self,
            images=[self.images[row] for row in rows.tolist()],
            sizes=self.sizes[rows],
            counts=self.counts[rows],
            boxes=self.boxes[places],
            labels=self.labels[places],
            area=self.area[places],
            crowd=self.crowd[places],
            outlines=self.outlines and [self.outlines[place] for place in places.tolist()],
        )

    @cached_property
    def ends(self) -> Tensor:
        """(N,) the place after the last box of each image."""
        return self.counts.cumsum(0)

    def of(self, row: int) -> Tensor:
        """The places (n,) of an image's boxes among all."""
        return torch.arange(int(self.ends[row] - self.counts[row]), int(self.ends[row]))

    def masks(self, places: Tensor, row: int) -> Tensor:
        """Of boxes of an image, what is in each: uint8 (n, H, W) of the image's size, 1 inside.

        Raises BadImage for an outline that is none.
        """
        high, wide = self.sizes[row].tolist()
        masks = torch.zeros(len(places), high, wide, dtype=torch.uint8)
        for mask, place in zip(masks, places.tolist()):
            try:
                assert self.outlines is not None
                runs = coco.segmToRle(self.outlines[place], wide, high)
                mask.copy_(torch.from_numpy(coco.decode(runs)))
            except Exception as error:
                reason = f"the segmentation of one of its boxes is no polygon and no runs ({error})"
                raise BadImage(self.images[row], reason) from error
        return masks


class BoxTrainLoader:
    """Augmented batches of a split of boxes, in the order of a sampler.

    size: the long side in pixels of the images served. A batch is as high and wide as its largest
        image would be without augmentation, and what lies right of an image or below it is grey.
    augment: names from `AUGMENTS`. Of boxes in a crop, those stay whose centre is in it, clipped.
    seed: of the augmentation, which is a pure function of (seed, epoch, id).
    masks: whether targets hold them, where the split has outlines.
    mean, views, distort: as other tasks want them; images are padded with grey, and seen once.
    workers: processes that read files; None means one a core, at most 8.

    Raises ValueError for an unknown augmentation, and BadImage while iterating.
    """

    def __init__(
        self,
        split: BoxSplit,
        sampler: Sampler,
        *,
        augment: Sequence[str],
        size: int,
        seed: int = 0,
        mean: RGB = (0.5, 0.5, 0.5),
        views: int = 1,
        distort: Sequence[str] = (),
        masks: bool = False,
        device: torch.device | str = "cpu",
        workers: int | None = None,
    ):
        check_augments(augment, AUGMENTS)
        assert views == 1 and not distort, "no method for boxes asks for views"
        self.sampler, self.device = sampler, torch.device(device)
        served = _Served(split, size, frozenset(augment), seed, masks)
        self.workers = Workers(served, self.device, workers, lasting=True)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one at position `start` on.

        images: float32 in [0, 1], (B, 3, H, W). targets: a dict an image, of tensors:
        boxes: (n, 4) float32, left, top, right and bottom in pixels of the batch.
        labels: (n,) int64. area: (n,) float32, in pixels of the file. crowd: (n,) bool.
        size, original: (2,) int64, height and width of the image in the batch and of its file.
        masks: (n, H, W) uint8, where they are asked for and the split has outlines.
        """
        rows = self.sampler.rows(epoch)[start:]
        for ids, made in self.workers.batches(epoch, rows):
            yield _batch(ids, made)


class BoxEvalLoader:
    """The images of a split once, as `BoxTrainLoader` serves them without augmentation.

    The images of a batch, at most `AT_ONCE`, are all padded to the same size, so that what is said of
    one does not hang on the others. Process `rank` of `world` takes its own, as `sampling.rows_of` has
    it. Raises BadImage while iterating.
    """

    def __init__(
        self,
        split: BoxSplit,
        *,
        size: int,
        batch_size: int = AT_ONCE,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        alike = defaultdict[tuple[int, int], list[int]](list)
        for row in rows_of(rank, world, len(split)):
            alike[padded([fitted(split.sizes[row].tolist(), size)])].append(row)
        count = min(batch_size, AT_ONCE)
        self.rows = [part for rows in alike.values() for part in torch.tensor(rows).split(count)]
        served = _Served(split, size)
        self.workers = Workers(served, torch.device(device), workers, lasting=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        for ids, made in self.workers.batches(0, self.rows):
            yield _batch(ids, made)


class _Served(Dataset):
    """Batches: images uint8 (B, 3, H, W), sizes and originals (B, 2), counts, and flat `PARTS`."""

    def __init__(
        self,
        split: BoxSplit,
        size: int,
        augment: frozenset[str] = frozenset(),
        seed: int = 0,
        masks: bool = False,
    ):
        self.split, self.size, self.augment, self.seed = split, size, augment, seed
        self.masks = masks and split.outlines is not None

    def __getitem__(self, request: tuple[int, list[int]]) -> tuple[Any, ...] | BadImage:
        epoch, rows = request
        draws = uniform(self.seed, epoch, torch.tensor(rows), 0, DRAWS).tolist()
        canvas = padded([fitted(self.split.sizes[row].tolist(), self.size) for row in rows])

        def batch() -> tuple[Any, ...]:
            images = torch.full((len(rows), 3, *canvas), GREY, dtype=torch.uint8)
            sizes, counts, parts = [], [], []
            for place, (row, drawn) in enumerate(zip(rows, draws)):
                image, part = self._image(row, *drawn)
                high, wide = image.shape[1:]
                images[place, :, :high, :wide] = image
                if self.masks:
                    edges = [0, 0, canvas[1] - wide, canvas[0] - high]
                    part[-1] = functional.pad(part[-1], edges)
                sizes.append([high, wide])
                counts.append(len(part[0]))
                parts.append(part)
            flat = [torch.cat(column) for column in zip(*parts)]
            return images, torch.tensor(sizes), self.split.sizes[rows], counts, *flat

        return or_fault(batch)

    def _image(
        self, row: int, part: float, left: float, top: float, scale: float, mirror: float,
        *colours: float,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        """A part of an image, and `PARTS` of the boxes in it, by eight draws in [0, 1)."""
        split = self.split
        share, factor = (
            low + (high - low) * drawn if name in self.augment else 1.0
            for name, (low, high), drawn in (("crop", CROPS, part), ("scale", SCALES, scale))
        )
        size = split.sizes[row].tolist()
        whole = fitted(size, self.size)
        high, wide = (max(1, round(share * side)) for side in size)
        y, x = round(top * (size[0] - high)), round(left * (size[1] - wide))
        corners = (x, y, x + wide, y + high)
        shape = (max(1, round(factor * whole[0])), max(1, round(factor * whole[1])))
        image = window(split.images[row], corners, shape)
        places = split.of(row)
        boxes, kept = within(split.boxes[places], corners, shape)
        places = places[kept]
        parts = [boxes, *(column[places] for column in (split.labels, split.area, split.crowd))]
        if self.masks:
            masks = split.masks(places, row)[:, y : y + high, x : x + wide]
            nearest = InterpolationMode.NEAREST
            parts.append(functional.resize(masks, [*shape], nearest))
        if "flip" in self.augment and mirror < 0.5:
            image = image.flip(-1)
            parts[0] = boxes[:, [2, 1, 0, 3]] * boxes.new_tensor([-1, 1, -1, 1])
            parts[0][:, ::2] += shape[1]
            parts[4:] = [masks.flip(-1) for masks in parts[4:]]
        return coloured(image, *colours) if "colour" in self.augment else image, parts


def _batch(ids: Tensor, made: tuple[Any, ...]) -> Batch:
    images, sizes, originals, counts, *flat = made
    each = zip(*(column.split(counts) for column in flat))
    targets = tuple(
        {**dict(zip(PARTS, parts)), "size": size, "original": original}
        for parts, size, original in zip(each, sizes, originals)
    )
    return Batch(images.float().div_(255), targets, ids)
