"""Boxes in text files, as YOLO has them: a line each, in shares of the image."""

from pathlib import Path
from typing import Any

import yaml

from cohobate.data.annotations import PARTS, Box, Picture, Pictures, arranged
from cohobate.data.folder import is_image
from cohobate.data.lists import check_once, lines, text
from cohobate.data.splits import existing

LAYOUT = (
    "it should hold data.yaml, or images/train/, labels/train/ (a .txt of the same name: class, then"
    " centre, width and height in shares of the image), val and test likewise, and classes.txt"
)
MOST = 1.01
"""The largest share: more is no rounding."""
ALSO = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
"""What the folders of each split are called."""


def read_yolo(name: str, root: Path | None, download: bool) -> Pictures:
    """Images and text files as Ultralytics and Roboflow lay them out. With no test, val is the test set.

    An image without a text file has no boxes. Raises FileNotFoundError, ValueError.
    """
    root = existing(name, root, LAYOUT)
    facts = _facts(root / "data.yaml")
    classes = _classes(root, facts)
    found = {}
    for part in PARTS:
        images = _listed(root, facts, part) if facts else _lying(root, part)
        if images:
            found[part] = [_picture(path, len(classes)) for path in images]
    if "train" not in found:
        raise FileNotFoundError(f"data.root={root} holds no images to train on: {LAYOUT}")
    return arranged(classes, found, "images for test", "val")


def _facts(path: Path) -> dict[str, Any]:
    """What a data.yaml says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        facts = yaml.safe_load(text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML file: {error}") from error
    if not isinstance(facts, dict) or "train" not in facts:
        raise ValueError(f"{path} should say where the images are: train: images/train")
    return facts


def _classes(root: Path, facts: dict[str, Any]) -> tuple[str, ...]:
    """The names, in the order of their numbers."""
    place, names = root / "data.yaml", facts.get("names")
    if isinstance(names, dict):
        if {*names} != {*range(len(names))}:
            raise ValueError(
                f"{place} should number its {len(names)} names from 0 to {len(names) - 1}"
            )
        names = [names[number] for number in range(len(names))]
    elif names is None and (root / "classes.txt").is_file():
        place, names = root / "classes.txt", lines(root / "classes.txt")
    if not isinstance(names, list) or not names:
        raise ValueError(f"data.root={root} has no names of classes: {LAYOUT}")
    check_once(classes := tuple(map(str, names)), place)
    return classes


def _listed(root: Path, facts: dict[str, Any], part: str) -> list[Path]:
    """The images of a split as data.yaml has it: of folders, or of lists of files."""
    named = facts.get(part) or []
    home = root / str(facts.get("path") or "")
    images = []
    names = [named] if isinstance(named, str) else named
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(
            f"{root / 'data.yaml'}, {part}: {named!r} should be a folder or a list of files, or"
            " several of them"
        )
    for name in names:
        tries = [home / name, root / name, root / name.removeprefix("../")]  # as Roboflow writes it
        place = next((path for path in tries if path.exists()), None)
        if place is None:
            raise FileNotFoundError(f"{root / 'data.yaml'}, {part}: there is no {tries[0]}")
        if place.is_dir():
            images += _inside(place)
        else:
            images += [place.parent / line for line in lines(place)]
    check_once([*map(str, images)], f"{root / 'data.yaml'}, {part}:")
    return images


def _lying(root: Path, part: str) -> list[Path]:
    """The images of a split in images/PART or PART/images."""
    for name in ALSO[part]:
        for folder in (root / "images" / name, root / name / "images"):
            if folder.is_dir():
                return _inside(folder)
    return []


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_image(path))


def _picture(path: Path, classes: int) -> Picture:
    """An image and the boxes of its text file. Raises ValueError for a line that is none."""
    parts = [*path.parts]
    if "images" in parts:  # the last one: a folder above may be called so
        place = len(parts) - 1 - parts[::-1].index("images")
        parts[place] = "labels"
    file = Path(*parts).with_suffix(".txt")
    picture = Picture(path, shares=True)
    rows = text(file).splitlines() if file.is_file() else []
    for number, line in enumerate(rows, start=1):
        if line.strip():
            picture.boxes.append(_box(line, classes, f"{file}, line {number}"))
    return picture


def _box(line: str, classes: int, place: str) -> Box:
    try:
        label, *sides = map(float, line.split())
        x, y, width, height = sides
        if not (label.is_integer() and abs(x + y + width + height) < float("inf")):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{place}: {line.strip()[:80]!r} should be a class number and four shares of the image:"
            " centre, width and height"
        ) from None
    if max(map(abs, sides)) > MOST:
        raise ValueError(
            f"{place}: {line.strip()[:80]!r} is not in shares of the image, which are at most 1, as"
            " YOLO has them: divide pixels by its width and height"
        )
    if not 0 <= label < classes:
        raise ValueError(f"{place}: class {int(label)} is not there: they are 0 to {classes - 1}")
    half = (width / 2, height / 2)
    return Box(int(label), (x - half[0], y - half[1], x + half[0], y + half[1]))
