"""The data sets for classification by name: how each is read, and what is known of it."""

from dataclasses import dataclass

from torchvision import datasets

from cohobate.data import official
from cohobate.data.arrays import read_digits, read_npz
from cohobate.data.folder import read_folder
from cohobate.data.named import Torchvision
from cohobate.data.official import Official
from cohobate.data.serving import PHOTOGRAPH
from cohobate.data.splits import Reader


@dataclass(frozen=True)
class Facts:
    """What is known of a named set before it is read; None is found out from the files.

    read: how it is read.
    augment: the augmentation that the field uses on it; None goes by how it is served.
    classes, train, test: how many there are; held against what is read.
    size: side at which it is served, in pixels.
    channels: 1 for grey, 3 for colour.
    """

    read: Reader
    augment: tuple[str, ...] | None = None
    classes: int | None = None
    size: int | None = None
    channels: int | None = None
    train: int | None = None
    test: int | None = None


_TRAIN, _TEST = {"train": True}, {"train": False}
_SPLITS = ({"split": "train"}, {"split": "test"})
_THREE_SPLITS = (*_SPLITS, {"split": "val"})
_CROP, SMALL_AUGMENT, PHOTOGRAPH_AUGMENT = ("crop",), ("crop", "flip"), ("resized_crop", "flip")

DATASETS: dict[str, Facts] = {
    "digits": Facts(read_digits, _CROP, 10, 32, 1, 1198, 599),
    "cifar10": Facts(
        Torchvision(datasets.CIFAR10, _TRAIN, _TEST), SMALL_AUGMENT, 10, 32, 3, 50_000, 10_000
    ),
    "cifar100": Facts(
        Torchvision(datasets.CIFAR100, _TRAIN, _TEST), SMALL_AUGMENT, 100, 32, 3, 50_000, 10_000
    ),
    "fashion_mnist": Facts(
        Torchvision(datasets.FashionMNIST, _TRAIN, _TEST), SMALL_AUGMENT, 10, 28, 1, 60_000, 10_000
    ),
    "stl10": Facts(
        Torchvision(datasets.STL10, *_SPLITS, labels="labels"), SMALL_AUGMENT, 10, 96, 3, 5_000, 8_000
    ),
    "svhn": Facts(
        Torchvision(datasets.SVHN, *_SPLITS, labels="labels"), _CROP, 10, 32, 3, 73_257, 26_032
    ),
    "flowers102": Facts(
        Torchvision(datasets.Flowers102, *_THREE_SPLITS, images="_image_files", labels="_labels"),
        PHOTOGRAPH_AUGMENT, 102, PHOTOGRAPH, 3, 1_020, 6_149,
    ),
    "pets": Facts(
        Torchvision(
            datasets.OxfordIIITPet, {"split": "trainval"}, {"split": "test"},
            images="_images", labels="_labels",
        ),
        PHOTOGRAPH_AUGMENT, 37, PHOTOGRAPH, 3, 3_680, 3_669,
    ),
    "dtd": Facts(
        Torchvision(datasets.DTD, *_THREE_SPLITS, images="_image_files", labels="_labels"),
        PHOTOGRAPH_AUGMENT, 47, PHOTOGRAPH, 3, 1_880, 1_880,
    ),
    "aircraft": Facts(
        Torchvision(
            datasets.FGVCAircraft, {"split": "trainval"}, {"split": "test"},
            images="_image_files", labels="_labels",
        ),
        PHOTOGRAPH_AUGMENT, 100, PHOTOGRAPH, 3, 6_667, 3_333,
    ),
    "cub200": Facts(
        Official(
            official.cub200, "train_test_split.txt", "CUB_200_2011",
            "https://www.vision.caltech.edu/datasets/cub_200_2011",
        ),
        PHOTOGRAPH_AUGMENT, 200, PHOTOGRAPH, 3, 5_994, 5_794,
    ),
    "imagenet": Facts(read_folder, PHOTOGRAPH_AUGMENT, 1000, PHOTOGRAPH, 3, 1_281_167, 50_000),
    "mit67": Facts(
        Official(
            official.mit67, "TrainImages.txt", "indoorCVPR_09",
            "https://web.mit.edu/torralba/www/indoor.html",
        ),
        PHOTOGRAPH_AUGMENT, 67, PHOTOGRAPH, 3, 5_360, 1_340,
    ),
    "stanford40": Facts(
        Official(
            official.stanford40, "ImageSplits", "Stanford40",
            "http://vision.stanford.edu/Datasets/40actions.html",
        ),
        PHOTOGRAPH_AUGMENT, 40, PHOTOGRAPH, 3, 4_000, 5_532,
    ),
    "stanford_cars": Facts(
        Official(
            official.stanford_cars, "devkit", "stanford_cars",
            "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        ),
        PHOTOGRAPH_AUGMENT, 196, PHOTOGRAPH, 3, 8_144, 8_041,
    ),
    "stanford_dogs": Facts(
        Official(
            official.stanford_dogs, "lists", "stanford_dogs",
            "http://vision.stanford.edu/aditya86/ImageNetDogs",
        ),
        PHOTOGRAPH_AUGMENT, 120, PHOTOGRAPH, 3, 12_000, 8_580,
    ),
    "tiny_imagenet": Facts(
        Official(
            official.tiny_imagenet, "wnids.txt", "tiny-imagenet-200",
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        ),
        PHOTOGRAPH_AUGMENT, 200, 32, 3, 100_000, 10_000,  # of 64 pixels, and used at 32 by the field
    ),
    "folder": Facts(read_folder),
    "npz": Facts(read_npz, SMALL_AUGMENT),
}  # fmt: skip
"""The data sets by name. A new set of class folders is one line with `read_folder`."""
