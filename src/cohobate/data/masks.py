"""Images with a mask each: a split of them, and batches that are scaled, cropped, flipped and padded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode, functional

from cohobate.core import VOID, Batch
from cohobate.data.augment import check_augments
from cohobate.data.draws import uniform
from cohobate.data.images import BadImage, or_fault, whole
from cohobate.data.labels import numbers
from cohobate.data.sampling import Sampler, rows_of
from cohobate.data.splits import some_sizes
from cohobate.data.workers import Workers

RGB = tuple[float, float, float]
AUGMENTS = ("scale", "crop", "flip", "colour")
"""What may be done to an image and its mask alike: a scale of 1/2 to 2, a crop at a random place, a
mirror image, another brightness, contrast and saturation."""
DRAWS = 7
SCALES = (0.5, 2.0)
COLOURS = (0.6, 1.4)


@dataclass(frozen=True, eq=False)
class MaskSplit:
    """Images and their masks.

    images, masks: the paths of N files each; a mask holds the class of every pixel, 255 where it is
        void and neither taught nor scored.
    classes: how many there are; any other number in a mask is an error.
    renumber: the class, or 255, that each number in a file means, from 0 on; a number beyond them is
        an error, but 255. None where the numbers are classes.
    """

    images: list[Path]
    masks: list[Path]
    classes: int
    renumber: tuple[int, ...] | None = None

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
        """A short text that is another for other images, masks or order, wherever they lie."""
        files = [
            (name, mask.name, mask.stat().st_size) for name, mask in zip(self.names(), self.masks)
        ]
        return blake2b(repr([files, some_sizes(self.images)]).encode(), digest_size=16).hexdigest()

    def take(self, rows: Tensor) -> "MaskSplit":
        """The rows (M,) of this split, in that order."""
        chosen = rows.tolist()
        images, masks = ([paths[row] for row in chosen] for paths in (self.images, self.masks))
        return MaskSplit(images, masks, self.classes, self.renumber)

    def read(self, row: int) -> tuple[Tensor, Tensor]:
        """An image (3, H, W) and its mask (H, W), uint8, at their own size, as displayed.

        Raises BadImage for a file that cannot be read, a mask of another size than its image, and a
        class that there is not.
        """
        return whole(self.images[row]), self.mask(row)

    def mask(self, row: int) -> Tensor:
        """The mask (H, W) of an image, as `read` gives it."""
        path = self.masks[row]
        labels = numbers(path, self.images[row])
        known = self.classes if self.renumber is None else len(self.renumber)
        void = labels == VOID
        strange = labels[((labels < 0) | (labels >= known)) & ~void]
        if len(strange):
            raise BadImage(
                path,
                f"label {int(strange[0])} stands in it, and there are {self.classes} classes: its"
                f" labels should be 0 to {known - 1}, or {VOID} for void",
            )
        if self.renumber is not None:
            meant = torch.tensor(self.renumber)[labels.masked_fill(void, 0)]
            labels = meant.masked_fill(void, VOID)
        return labels.to(torch.uint8)


class MaskTrainLoader:
    """Augmented batches of a split of masks, in the order of a sampler.

    size: side of the square images served, in pixels. Without "scale", an image's short side becomes
        that; without "crop", its middle is served. What lies outside of an image is `mean`, and void.
    augment: names from `AUGMENTS`.
    seed: of the augmentation, which is a pure function of (seed, epoch, id, view).
    views: of each image; one mask is that of all, so they show the same part, in other colours.
    workers: processes that read files; None means one a core, at most 8.

    Raises ValueError for an unknown augmentation, and BadImage while iterating.
    """

    def __init__(
        self,
        split: MaskSplit,
        sampler: Sampler,
        *,
        augment: Sequence[str],
        size: int,
        seed: int = 0,
        mean: RGB = (0.5, 0.5, 0.5),
        views: int = 1,
        distort: Sequence[str] = (),
        device: torch.device | str = "cpu",
        workers: int | None = None,
    ):
        check_augments(augment, AUGMENTS)
        assert not distort, "no method for masks distorts"
        self.views = views
        self.sampler, self.device = sampler, torch.device(device)
        crops = _Crops(split, frozenset(augment), size, seed, mean, views)
        self.workers = Workers(crops, self.device, workers, lasting=True)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one at position `start` on.

        images: float32 in [0, 1], (B, 3, size, size), or (B, views, 3, size, size) for views > 1.
        targets: int64 (B, size, size).
        """
        rows = self.sampler.rows(epoch)[start:]
        for ids, (images, masks) in self.workers.batches(epoch, rows):
            images = images[:, 0] if self.views == 1 else images
            yield Batch(images.float().div_(255), masks.long(), ids)


class MaskEvalLoader:
    """The images of a split once, in order, one a batch, at their own size.

    Process `rank` of `world` takes its own, as `sampling.rows_of` has it. Raises BadImage while
    iterating.
    """

    def __init__(
        self,
        split: MaskSplit,
        *,
        size: int = 0,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        self.rows = torch.tensor(rows_of(rank, world, len(split))).split(1)
        self.workers = Workers(_Whole(split), torch.device(device), workers, lasting=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        for ids, (image, mask) in self.workers.batches(0, self.rows):
            yield Batch(image[None].float().div_(255), mask[None].long(), ids)


class _Whole(Dataset):
    """Images and masks as they are, one by one."""

    def __init__(self, split: MaskSplit):
        self.split = split

    def __getitem__(self, request: tuple[int, list[int]]) -> tuple[Tensor, Tensor] | BadImage:
        return or_fault(lambda: self.split.read(request[1][0]))


class _Crops(Dataset):
    """Batches of augmented images uint8 (B, views, 3, S, S) and masks uint8 (B, S, S)."""

    def __init__(
        self,
        split: MaskSplit,
        augment: frozenset[str],
        size: int,
        seed: int,
        mean: RGB,
        views: int,
    ):
        self.split, self.augment, self.size = split, augment, size
        self.seed, self.views = seed, views
        self.paint = [255 * value for value in mean]

    def __getitem__(self, request: tuple[int, list[int]]) -> tuple[Tensor, Tensor] | BadImage:
        epoch, rows = request
        ids, views = torch.tensor(rows), range(self.views)
        draws = torch.stack([uniform(self.seed, epoch, ids, view, DRAWS) for view in views], 1)

        def batch() -> tuple[Tensor, Tensor]:
            images, masks = [], []
            for row, drawn in zip(rows, draws.tolist()):
                image, mask = self._crop(*self.split.read(row), *drawn[0][:4])
                images.append(torch.stack([self._view(image, each[4:]) for each in drawn]))
                masks.append(mask)
            return torch.stack(images), torch.stack(masks)

        return or_fault(batch)

    def _crop(
        self, image: Tensor, mask: Tensor, scale: float, top: float, left: float, mirror: float
    ) -> tuple[Tensor, Tensor]:
        """A part of an image and its mask, by four draws in [0, 1)."""
        low, high = SCALES
        factor = low * (high / low) ** scale if "scale" in self.augment else 1.0
        image, mask = resized(image, mask, round(factor * self.size))
        if "crop" not in self.augment:
            top = left = 0.5
        image, mask = self._window(image, mask, top, left)
        if "flip" in self.augment and mirror < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        return image, mask

    def _view(self, image: Tensor, draws: list[float]) -> Tensor:
        return coloured(image, *draws) if "colour" in self.augment else image

    def _window(
        self, image: Tensor, mask: Tensor, top: float, left: float
    ) -> tuple[Tensor, Tensor]:
        """A square of `size` pixels, padded where the image is smaller."""
        size = self.size
        high, wide = mask.shape
        y, x = (round(share * max(0, side - size)) for share, side in ((top, high), (left, wide)))
        image, mask = (part[..., y : y + size, x : x + size] for part in (image, mask))
        high, wide = mask.shape
        if (high, wide) == (size, size):
            return image.contiguous(), mask.contiguous()
        y, x = (size - high) // 2, (size - wide) // 2
        padding = [x, y, size - wide - x, size - high - y]
        return functional.pad(image, padding, self.paint), functional.pad(
            mask[None], padding, VOID
        )[0]


def coloured(image: Tensor, bright: float, contrast: float, saturation: float) -> Tensor:
    """An image (3, H, W) in other colours, by three draws in [0, 1)."""
    least, most = COLOURS
    bright, contrast, saturation = (
        least + (most - least) * drawn for drawn in (bright, contrast, saturation)
    )
    image = functional.adjust_brightness(image, bright)
    return functional.adjust_saturation(functional.adjust_contrast(image, contrast), saturation)


def resized(image: Tensor, mask: Tensor, short: int) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) and its mask (H, W) with a short side of so many pixels."""
    short = max(short, 1)
    high, wide = mask.shape
    scale = short / min(high, wide)
    shape = [max(1, round(scale * high)), max(1, round(scale * wide))]
    image = functional.resize(image, shape, InterpolationMode.BILINEAR, antialias=True)
    return image, functional.resize(mask[None], shape, InterpolationMode.NEAREST)[0]
