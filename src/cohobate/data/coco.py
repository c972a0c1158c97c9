"""Boxes in COCO's JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cohobate.data.annotations import PARTS, Box, Picture, Pictures, arranged, numbers
from cohobate.data.splits import existing

LAYOUT = (
    "it should hold instances_train.json, instances_val.json and instances_test.json, or such as"
    " annotations/instances_train2017.json, with the images in images/, train2017/ or beside them"
)


def read_coco(name: str, root: Path | None, download: bool) -> Pictures:
    """COCO's JSON. With no file for test, the one for val is that of the test set.

    Raises FileNotFoundError for a missing root or file, ValueError for what is no such JSON.
    """
    root = existing(name, root, LAYOUT)
    files = {part: _instances(root, part) for part in PARTS}
    if files["train"] is None:
        raise FileNotFoundError(f"data.root={root} holds no instances_train.json: {LAYOUT}")
    classes: tuple[str, ...] = ()
    found: dict[str, list[Picture]] = {}
    for part, path in files.items():
        if path is not None:
            facts = _Instances(path)
            classes = classes or facts.classes
            found[part] = facts.pictures(classes, [*_folders(root, part, path)])
    return arranged(classes, found, "instances_test.json", "instances_val.json")


def _instances(root: Path, part: str) -> Path | None:
    """The JSON file of a split, the one of the latest year where there are several."""
    for folder in (root, root / "annotations"):
        years = sorted(folder.glob(f"instances_{part}2*.json"))
        for path in (folder / f"instances_{part}.json", *reversed(years)):
            if path.is_file():
                return path
    return None


def _folders(root: Path, part: str, path: Path) -> Iterator[Path]:
    """Where the images of a file may lie."""
    own = path.stem.removeprefix("instances_")  # train2017
    for home in (root, root / "images"):
        yield from (home / own, home / part, home)


class _Instances:
    """A JSON file in COCO's format. Raises ValueError for another."""

    def __init__(self, path: Path):
        self.path = path
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON file: {error}") from error
        needed = {"images": "file_name", "annotations": "image_id", "categories": "name"}
        for key, inside in needed.items():
            rows = facts.get(key) if isinstance(facts, dict) else None
            if not isinstance(rows, list) or (key == "images" and not rows):
                raise ValueError(f"{path} is no COCO file: it has no list of {key!r}")
            for row in rows:
                if not isinstance(row, dict) or not {"id", inside} <= {*row}:
                    raise ValueError(
                        f"{path} is no COCO file: one of its {key} has no 'id' or no {inside!r}"
                    )
        self.images = self._by_id(facts, "images")
        self.annotations = self._by_id(facts, "annotations")
        self.categories = dict(sorted(self._by_id(facts, "categories").items()))
        self.classes = tuple(str(each["name"]) for each in self.categories.values())
        if not self.classes:
            raise ValueError(f"{path} names no category: its 'categories' are empty")
        if len({*self.classes}) < len(self.classes):
            raise ValueError(
                f"{path} should name its categories, each once: {', '.join(self.classes)}"
            )

    def _by_id(self, facts: dict[str, Any], key: str) -> dict[Any, dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        for row in facts[key]:
            mixed = isinstance(row["id"], str) != isinstance(facts[key][0]["id"], str)
            if mixed or not _is_id(row["id"]):
                raise ValueError(
                    f"{self.path}: one of its {key} has the id {row['id']!r}: numbers alone are"
                    " wanted, or texts alone"
                )
            if found.setdefault(row["id"], row) is not row:
                raise ValueError(
                    f"{self.path}: two {key} have the id {row['id']!r}: number them anew"
                )
        return found

    def pictures(self, classes: tuple[str, ...], folders: Sequence[Path]) -> list[Picture]:
        """The images with their boxes, whose labels are places in `classes`. Raises ValueError."""
        if strange := {*self.classes} - {*classes}:
            raise ValueError(
                f"{self.path} has the category {min(strange)!r}, which the training images have not:"
                f" theirs are {', '.join(classes[:20])}"
            )
        labels = {key: classes.index(str(row["name"])) for key, row in self.categories.items()}
        pictures = {key: self._picture(row, folders) for key, row in self.images.items()}
        seen: dict[Path, Any] = {}
        for key, picture in pictures.items():
            if seen.setdefault(picture.path, key) != key:
                raise ValueError(
                    f"{self.path}: images {seen[picture.path]} and {key} are one file,"
                    f" {picture.path.name}: take one of them away"
                )
        for key, row in self.annotations.items():
            place, image = f"{self.path}: annotation {key}", row["image_id"]
            if not _is_id(image) or image not in pictures:
                raise ValueError(f"{place} is of image {image!r}, which is not there")
            pictures[image].boxes.append(_box(row, labels, place))
        return [*pictures.values()]

    def _picture(self, row: dict[str, Any], folders: Sequence[Path]) -> Picture:
        for folder in folders:
            path = folder / str(row["file_name"])
            if path.is_file():
                width, height = row.get("width"), row.get("height")
                for side in (width, height):
                    if side is not None and not isinstance(side, int | float):
                        raise ValueError(
                            f"{self.path}: image {row['id']!r} has width {width!r} and height"
                            f" {height!r}: numbers are wanted"
                        )
                return Picture(path, size=(width, height) if width and height else None)
        looked = ", ".join(str(folder) for folder in folders if folder.is_dir())
        raise FileNotFoundError(
            f"{self.path}: image {row['id']}, {row['file_name']}, is not there; it was looked for in"
            f" {looked}"
        )


def _box(row: dict[str, Any], labels: dict[Any, int], place: str) -> Box:
    """What an annotation says, its category by its label. Raises ValueError."""
    kind, area, crowd = (row.get(key) for key in ("category_id", "area", "iscrowd"))
    if not _is_id(kind) or kind not in labels:
        raise ValueError(
            f"{place} is of category {kind!r}, which is not among its categories: their ids are"
            f" {', '.join(map(repr, [*labels][:20]))}"
        )
    left, top, width, height = numbers(row.get("bbox"), place)
    if area is not None and not isinstance(area, int | float):
        raise ValueError(f"{place} has area {area!r}: a number is wanted")
    if crowd not in (None, 0, 1):
        raise ValueError(f"{place} has iscrowd {crowd!r}: 0 or 1 is wanted")
    corners = (left, top, left + width, top + height)
    outline = row.get("segmentation") or None
    return Box(labels[kind], corners, None if area is None else float(area), bool(crowd), outline)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | float | str)
