"""Class folders: `train/CLASS/*.jpg` with `val/` and `test/` beside it, or `CLASS/*.jpg` alone."""

from pathlib import Path

import torch

from cohobate.data.splits import Found, Split, existing

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}
LAYOUT = "it should hold train/CLASS/*.jpg (and val/, test/ likewise), or CLASS/*.jpg alone"


def read_folder(name: str, root: Path | None, download: bool) -> Found:
    """The splits of a folder, as paths. With no test/, val/ is the test set.

    Raises FileNotFoundError for a missing root, ValueError for another layout, a class without
    images, a single class, or a class that train/ does not have.
    """
    root = existing(name, root, LAYOUT)
    splits = {split: root / split for split in ("train", "val", "test") if (root / split).is_dir()}
    if splits and "train" not in splits:
        raise ValueError(f"data.root={root} holds {' and '.join(splits)} but no train: {LAYOUT}")
    folder = splits.get("train", root)
    classes = tuple(sorted(_classes(folder)))
    if len(classes) < 2:
        there = f"one class only, {classes[0]!r}" if classes else "no class folders"
        raise ValueError(f"{folder} holds {there}, and two are needed: {LAYOUT}")
    train = _read(folder, classes)
    val, test = (
        _read(splits[split], classes) if split in splits else None for split in ("val", "test")
    )
    if test is None and val is not None:
        note = "no test/ folder: val/ is the test set, and what validates is cut from train/"
        return Found(classes, train, None, val, (note,))
    return Found(classes, train, val, test)


def _classes(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."]


def _read(folder: Path, classes: tuple[str, ...]) -> Split:
    """One split; its classes are numbered as in `classes`."""
    paths, targets = [], []
    for name in sorted(_classes(folder)):
        if name not in classes:
            raise ValueError(
                f"class folder {folder / name} has no counterpart in train/: "
                f"its classes are {', '.join(classes[:20])}{', …' if len(classes) > 20 else ''}"
            )
        images = sorted(path for path in (folder / name).iterdir() if is_image(path))
        if not images:
            raise ValueError(
                f"class folder {folder / name} has no images: add some "
                f"({', '.join(sorted(EXTENSIONS))}) or remove the folder"
            )
        paths += images
        targets += [classes.index(name)] * len(images)
    return Split(paths, torch.tensor(targets, dtype=torch.int64))


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    return path.suffix.lower() in EXTENSIONS and path.name[0] != "."


def by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without the ending.

    Raises ValueError where two have the same: a list would name both.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.glob("*") if is_image(path)):
        if found.setdefault(path.stem, path) is not path:
            raise ValueError(
                f"{folder} holds {found[path.stem].name} and {path.name}, and a list names images"
                " without their ending: take one of them away"
            )
    return found
