"""The published sets of corrupted test images, read where they lie: CIFAR-10-C, CIFAR-100-C, ImageNet-C.

Hendrycks and Dietterich, ICLR 2019, https://arxiv.org/abs/1903.12261.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cohobate.data.corruptions import SEVERITIES
from cohobate.data.folder import is_image
from cohobate.data.serving import SMALL, squares, stack
from cohobate.data.splits import Split

LAYOUT = (
    "it should hold NAME.npy with labels.npy (CIFAR-10-C, CIFAR-100-C), or NAME/SEVERITY/CLASS/*.JPEG"
    " (ImageNet-C)"
)
BENCHMARK = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The corruptions that the mean corruption error is over. The folders hold four more, to choose settings
on: speckle_noise, gaussian_blur, spatter and saturate."""
CIFAR = {
    10: "airplane automobile bird cat deer dog frog horse ship truck",
    100: """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
    couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
    house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket
    rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
    turtle wardrobe whale willow_tree wolf woman worm
    """,
}
"""The names of the classes whose numbers `labels.npy` holds, by how many there are."""


class Corrupted:
    """A folder of one of the sets; `names` are its corruptions, `notes` what is to be known of its labels.

    classes: names of the network's classes, in their order. size: side of the images served.
    Raises FileNotFoundError where there is no folder, ValueError where it is of another form, or of
    other classes.
    """

    def __init__(self, root: Path, classes: Sequence[str], size: int):
        if not root.is_dir():
            raise FileNotFoundError(f"--corrupted {root} is not a folder: {LAYOUT}")
        self.root, self.classes, self.size = root, list(classes), size
        self.labels = root / "labels.npy"
        if arrays := self.labels.is_file():
            found = {path.stem for path in root.glob("*.npy") if path != self.labels}
        else:
            found = {path.parent.name for path in root.glob("*/[1-5]") if path.is_dir()}
        self.names = sorted(found)
        if not self.names:
            raise ValueError(f"--corrupted {root} holds no corruptions: {LAYOUT}")
        if not arrays:
            self._check_folders()
        self.notes = self._compare() if arrays else []

    def _compare(self) -> list[str]:
        """Holds CIFAR's names against those of the classes. A sentence where there are none to compare."""
        names = CIFAR.get(len(self.classes), "").split()
        if not names or all(name.isdigit() for name in self.classes):
            return [
                f"--corrupted {self.root}: its labels are numbers, taken for those of the network's"
                " classes"
            ]
        for number, (theirs, ours) in enumerate(zip(names, self.classes)):
            if _letters(theirs) != _letters(ours):
                raise ValueError(
                    f"--corrupted {self.root} has the classes of CIFAR-{len(names)}, whose number"
                    f" {number} is {theirs!r}, and that of the network {ours!r}"
                )
        return []

    def _check_folders(self) -> None:
        """Raises ValueError for a severity that is missing, before hours go into those before it."""
        places = [self.root / name / str(each) for name in self.names for each in SEVERITIES]
        if missing := [place for place in places if not place.is_dir()]:
            raise ValueError(
                f"--corrupted {self.root}: {missing[0]} is missing"
                f"{f', and {len(missing) - 1} more' if missing[1:] else ''}: {LAYOUT}"
            )

    def split(self, name: str, severity: int) -> Split:
        """The test images under a corruption, ready to be served.

        Raises ValueError where they are not as they should be, BadImage for a file that cannot be
        read.
        """
        if self.labels.is_file():
            return self._array(self.root / f"{name}.npy", severity)
        return self._folder(self.root / name / str(severity))

    def _array(self, path: Path, severity: int) -> Split:
        """Of CIFAR-10-C and CIFAR-100-C: all severities, one after another, in one file."""
        images, labels = _load(path), _load(self.labels)
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"{path} holds {images.dtype} {images.shape} but should hold images, uint8"
                " (5 N, H, W, 3)"
            )
        if len(images) != len(labels) or len(images) % len(SEVERITIES) or not len(images):
            raise ValueError(
                f"{path} holds {len(images)} images and {self.labels} {len(labels)} labels: they"
                " should be as many, and five times as many as there are test images"
            )
        if (known := int(labels.max()) + 1) != len(self.classes) or labels.min() < 0:
            raise ValueError(
                f"{self.labels} tells of {known} classes, and the network knows {len(self.classes)}"
            )
        count = len(images) // len(SEVERITIES)
        rows = slice((severity - 1) * count, severity * count)
        pixels = torch.from_numpy(images[rows].copy()).permute(0, 3, 1, 2)
        targets = torch.from_numpy(labels[rows].astype(np.int64))
        return Split(squares(pixels, self.size), targets)

    def _folder(self, folder: Path) -> Split:
        """Of ImageNet-C: a folder for each severity, with the classes by their names."""
        names = sorted(path.name for path in folder.glob("*") if path.is_dir())
        if strange := [name for name in names if name not in self.classes]:
            raise ValueError(
                f"{folder / strange[0]} is of none of the network's classes:"
                f" {', '.join(self.classes[:5])}, …"
            )
        paths = [
            path for name in names for path in sorted((folder / name).glob("*")) if is_image(path)
        ]
        if not paths:
            raise ValueError(f"{folder} holds no images: {LAYOUT}")
        targets = torch.tensor([self.classes.index(path.parent.name) for path in paths])
        return Split(stack(paths, self.size) if self.size <= SMALL else paths, targets)


def _letters(name: str) -> str:
    """A class name whatever joins its words: `maple_tree`, `Maple tree`."""
    return re.sub(r"[\W_]", "", name).casefold()


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except Exception as error:  # a damaged file raises whatever its reader stumbles over
        raise ValueError(f"{path} cannot be read as .npy: {error}") from error
