"""Sets of photographs in the layouts that their authors publish, read from the lists beside them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from cohobate.data.folder import read_folder
from cohobate.data.splits import Found, Split, existing

Row = tuple[str, int]
"""The path of an image below the folder of images, and its class."""


@dataclass(frozen=True)
class Official:
    """The reader of one layout; class folders, `train/CLASS/*` and `test/CLASS/*`, are read too.

    read: reads the layout from the folder that holds `mark`.
    mark: a file or folder by which the layout is known.
    inside: the folder that the authors' archive unpacks to.
    link: where the set can be had.
    """

    read: Callable[[Path], Found]
    mark: str
    inside: str
    link: str

    def __call__(self, name: str, root: Path | None, download: bool) -> Found:
        """The official splits.

        Raises ValueError without a `root`, where it is to be downloaded, or where a list in it is
        not as it should be, FileNotFoundError where the files are missing.
        """
        layout = f"it should hold {self.inside}/{self.mark}, as {self.link} has it, or train/CLASS/*.jpg and test/CLASS/*.jpg"
        if download:
            raise ValueError(
                f"data.name={name} cannot be downloaded from here: fetch it from {self.link} and"
                " set data.root to where it lies"
            )
        root = existing(name, root, layout)
        for place in (root, root / self.inside):
            if (place / self.mark).exists():
                return self._official(place)
        if (root / "train").is_dir():
            return read_folder(name, root, download)
        raise FileNotFoundError(f"{name} is not in data.root={root}: {layout}")

    def _official(self, place: Path) -> Found:
        try:
            found = self.read(place)
        except (OSError, ValueError, LookupError, TypeError, MatReadError) as error:
            reason = error.filename if isinstance(error, OSError) else f"{error}"
            raise ValueError(
                f"the lists in {place} are not whole ({reason}): unpack the archive anew"
            ) from error
        for split in (found.train, found.test):
            ends = [] if split is None else [split.images[0], split.images[-1]]
            for path in ends:
                if isinstance(path, Path) and not path.is_file():
                    raise FileNotFoundError(f"{path} is listed and not there: {self.link} has it")
        return found


def cub200(place: Path) -> Found:
    """Caltech-UCSD Birds-200-2011: tables of `ID VALUE`; classes count from 1."""
    paths, classes, numbers, train = (
        dict(line.split(maxsplit=1) for line in _lines(place / f"{name}.txt"))
        for name in ("images", "classes", "image_class_labels", "train_test_split")
    )
    rows = {"0": [], "1": []}
    for key, path in paths.items():
        rows[train[key]].append((path, int(numbers[key]) - 1))
    names = (name.partition(".")[2] or name for name in classes.values())
    return _found(names, place / "images", rows["1"], rows["0"])


def stanford_dogs(place: Path) -> Found:
    """Stanford Dogs: MATLAB lists of paths below `Images/`; classes count from 1."""
    train, test = (_dogs(place / "lists" / f"{name}_list.mat") for name in ("train", "test"))
    folders = dict(sorted((number, path.partition("/")[0]) for path, number in train))
    names = (folder.partition("-")[2] or folder for folder in folders.values())
    return _found(names, place / "Images", train, test)


def _dogs(file: Path) -> list[Row]:
    table: Any = loadmat(file, squeeze_me=True)
    return [(str(p), int(n) - 1) for p, n in zip(table["file_list"], table["labels"])]


def mit67(place: Path) -> Found:
    """MIT Indoor Scenes: two lists of `CLASS/FILE` below `Images/`."""
    train, test = (_lines(place / f"{name}Images.txt") for name in ("Train", "Test"))
    classes = sorted({path.partition("/")[0] for path in train})
    return _found(
        classes,
        place / "Images",
        *([(path, classes.index(path.partition("/")[0])) for path in part] for part in (train, test)),
    )  # fmt: skip


def stanford40(place: Path) -> Found:
    """Stanford 40 Actions: for each class a list of files below `JPEGImages/`."""
    lists = place / "ImageSplits"
    classes = sorted(p.name.removesuffix("_train.txt") for p in lists.glob("*_train.txt"))
    train, test = (
        [
            (path, number)
            for number, name in enumerate(classes)
            for path in _lines(lists / f"{name}_{part}.txt")
        ]
        for part in ("train", "test")
    )
    return _found(classes, place / "JPEGImages", train, test)


def stanford_cars(place: Path) -> Found:
    """Stanford Cars: MATLAB tables; classes count from 1."""
    meta: Any = loadmat(place / "devkit" / "cars_meta.mat", squeeze_me=True)
    train = _cars(place / "devkit" / "cars_train_annos.mat", "cars_train")
    test = _cars(place / "cars_test_annos_withlabels.mat", "cars_test")
    return _found(map(str, meta["class_names"]), place, train, test)


def _cars(file: Path, folder: str) -> list[Row]:
    table: Any = loadmat(file, squeeze_me=True)
    return [(f"{folder}/{row['fname']}", int(row["class"]) - 1) for row in table["annotations"]]


def tiny_imagenet(place: Path) -> Found:
    """Tiny ImageNet: `train/WNID/images/*`, and `val/`, which is the test set, by a list."""
    wnids = sorted(_lines(place / "wnids.txt"))
    words = dict(line.split("\t", 1) for line in _lines(place / "words.txt"))
    train = [
        (f"train/{wnid}/images/{path.name}", number)
        for number, wnid in enumerate(wnids)
        for path in sorted((place / "train" / wnid / "images").iterdir())
    ]
    listed = (line.split("\t") for line in _lines(place / "val" / "val_annotations.txt"))
    test = [(f"val/images/{name}", wnids.index(wnid)) for name, wnid, *_ in listed]
    return _found((words.get(wnid, wnid) for wnid in wnids), place, train, test)


def _lines(file: Path) -> list[str]:
    """The lines of a list that are not empty."""
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _found(classes: Iterable[str], images: Path, train: list[Row], test: list[Row]) -> Found:
    splits = (
        Split([images / path for path, _ in rows], torch.tensor([number for _, number in rows]))
        for rows in (train, test)
    )
    first, second = splits
    return Found(tuple(classes), first, None, second)
