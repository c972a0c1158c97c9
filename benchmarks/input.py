"""How much faster images arrive than through torchvision's transforms and torch's DataLoader.

    COHOBATE_TEST_DATA=FOLDER python benchmarks/input.py [--repeats 5] [--workers 2]

Two sets, which on both sides end as float32 batches of 64 on the processor: CIFAR-100 in memory, cropped, flipped and normalised,
and a folder of JPEG files of 500 × 375 pixels, of which parts are resized to 224 and flipped. The reference is what most training
scripts do: one picture at a time through PIL, in worker processes that stay from epoch to epoch. Ours reads files with as many
workers, and needs none for what is in memory. Whole epochs are timed, in turn, and the table has their medians; its last column is
the share of a supervised training step of cifar_resnet18 at batch 64, as benchmarks/step.py has it, not compiled.
Where COHOBATE_TEST_DATA (../shared/data unless set) holds no images, noise stands in for them, and the table says so.
Run it alone: a busy core makes torch many times slower.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from cohobate.core import cores
from cohobate.data.folder import read_folder
from cohobate.data.loader import TrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split
from cohobate.display import show
from cohobate.models import Classifier
from cohobate.stopwatch import Case, Ours, machine, rates

DATA = Path(os.environ.get("COHOBATE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
BATCH, SIZE, CLASSES = 64, 32, 100
FILES, WIDTH, HEIGHT, PART = 13 * BATCH, 500, 375, 224

Epoch = Callable[[], Iterable[Tensor]]
"""Gives the normalised batches of the next epoch."""


class Pictures(Dataset):
    """Images in memory as torchvision's CIFAR-100 gives them: through PIL, one by one."""

    def __init__(self, images: np.ndarray, targets: list[int], transform: Callable):
        self.images, self.targets, self.transform = images, targets, transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), self.targets[row]


def usual(crop: Callable, *last: Callable) -> Callable:
    """The transforms of most training scripts."""
    return transforms.Compose(
        [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), *last]
    )


def reference(dataset: Dataset, workers: int) -> Epoch:
    loader = DataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: (images for images, _ in loader)


def ours(
    split: Split, augment: list[str], size: int, workers: int, model: Classifier | None = None
) -> Epoch:
    """Our loader's images; with a model, as that normalises them."""
    sampler = Sampler(split.targets, BATCH)
    loader = TrainLoader(split, sampler, augment=augment, size=size, workers=workers)
    epochs = count()
    last = model.normalise if model else lambda images: images
    return lambda: (last(batch.images) for batch in loader.epoch(next(epochs)))


def in_memory(workers: int, model: Classifier) -> tuple[str, Epoch, Epoch]:
    """What the images are, the reference and ours."""
    path = DATA / "cifar100" / "train.npz"
    if path.is_file():
        name = "CIFAR-100"
        with np.load(path) as file:
            images, labels = file["images"], file["labels"]
    else:
        name, draw = f"noise of {SIZE} × {SIZE}", np.random.default_rng(0)
        images = draw.integers(0, 256, (50_000, SIZE, SIZE, 3), np.uint8)
        labels = draw.integers(0, CLASSES, len(images))
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    crop = transforms.RandomCrop(SIZE, padding=SIZE // 8)
    transform = usual(crop, transforms.Normalize(mean, std))
    theirs = reference(Pictures(images, labels.tolist(), transform), workers)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    split = Split(planes, torch.from_numpy(labels).long())
    return name, theirs, ours(split, ["crop", "flip"], SIZE, 0, model)


def in_files(folder: Path, workers: int) -> tuple[str, Epoch, Epoch]:
    """What the images are, the reference and ours."""
    name = write(folder)
    transform = usual(transforms.RandomResizedCrop(PART))
    theirs = reference(ImageFolder(str(folder), transform), workers)
    split = read_folder("folder", folder, download=False).train
    return name, theirs, ours(split, ["resized_crop", "flip"], PART, workers)


def write(folder: Path) -> str:
    """Fills two classes with JPEG files, and says what they show.

    Four small photographs share a file: one of them enlarged would be blurred and quick to decode.
    """
    paths = sorted([*DATA.glob("hymenoptera/*/*/*.jpg"), *DATA.glob("pets3/images/*.jpg")])
    size = (WIDTH // 2, HEIGHT // 2 + 1)
    if paths:
        name = "JPEG files of four photographs each"
        quarters = [ImageOps.fit(Image.open(path).convert("RGB"), size) for path in paths]
    else:
        name, draw = "JPEG files of smooth noise", np.random.default_rng(0)
        coarse = draw.integers(0, 256, (FILES, size[1] // 8, size[0] // 8, 3), np.uint8)
        quarters = [Image.fromarray(pixels).resize(size) for pixels in coarse]
    for number in range(FILES):
        sheet = Image.new("RGB", (WIDTH, HEIGHT))
        for corner in range(4):
            place = (corner % 2 * size[0], corner // 2 * (HEIGHT - size[1]))
            sheet.paste(quarters[(number + corner) % len(quarters)], place)
        path = folder / f"class_{number % 2}" / f"{number:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        sheet.save(path, quality=90)
    return name


def rate(epoch: Epoch) -> float:
    """Images a second over the next epoch."""
    began = time.perf_counter()
    images = sum(len(batch) for batch in epoch())
    return images / (time.perf_counter() - began)


def compare(sides: tuple[Epoch, Epoch], repeats: int) -> list[float]:
    """Median images a second of each side."""
    for side in sides:
        rate(side)
    return [median(rates) for rates in zip(*[[rate(s) for s in sides] for _ in range(repeats)])]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        whole = Ours(Case(model="cifar_resnet18"), machine().launch(), folder)
        (trained,) = rates([whole.step], BATCH)
    model = whole.training.method.model
    rows = []
    with TemporaryDirectory() as folder:
        for name, *sides in (
            in_memory(given.workers, model),
            in_files(Path(folder), given.workers),
        ):
            theirs, mine = compare(sides, given.repeats)
            share = f"{BATCH / mine * 1000:.2f}", f"{100 * trained / mine:.2f} %"
            rows.append((name, f"{theirs:,.0f}", f"{mine:,.0f}", f"{mine / theirs:.2f}", *share))
    print(
        f"{torch.get_num_threads()} threads, {cores()} cores, {given.workers} workers;"
        f" a step takes {BATCH / trained * 1000:.0f} ms"
    )
    show(
        ["images", "reference images/s", "ours images/s", "ratio", "ms a batch", "of a step"], rows
    )


if __name__ == "__main__":
    main()
