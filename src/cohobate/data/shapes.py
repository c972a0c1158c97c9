"""Small pictures of discs, squares and triangles, made here: with masks, and with boxes."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cohobate.data.layouts import Masks, read_folder

KINDS = ("disc", "square", "triangle")
SIDE = 64
COUNTS = {"train": 160, "test": 60}
EDITION = 2
"""Raised when other pictures are drawn, so that old ones are not taken for them."""


def read_shapes(name: str, root: Path | None, download: bool) -> Masks:
    """The pictures with their masks: background, and the three kinds of shapes."""
    return read_folder(name, made(root), download)


def made(root: Path | None = None) -> Path:
    """The folder of the pictures, drawn there unless it holds them; by default among the temporary files.

    It has the layouts that cohobate reads: images/, masks/, lists, and instances_PART.json as COCO has
    them. Raises ValueError where it cannot be written.
    """
    home = root or Path(tempfile.gettempdir(), f"cohobate-shapes-{EDITION}")
    if (home / "classes.txt").is_file():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as draft:
            _draw_all(Path(draft, "shapes"))
            try:
                os.replace(Path(draft, "shapes"), home)
            except OSError:
                if not (home / "classes.txt").is_file():  # else another process was first
                    raise
    except OSError as error:
        raise ValueError(
            f"the shapes cannot be drawn in {home} ({error}): name another folder with data.root=FOLDER"
        ) from error
    return home


def _draw_all(home: Path) -> None:
    for folder in ("images", "masks"):
        (home / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in COUNTS.items():
        names = [f"{part}{number:03d}" for number in range(count)]
        pictures, boxes = [], []
        for number, name in enumerate(names, start=1):
            image, mask, found = _draw(random)
            image.save(home / "images" / f"{name}.png")
            mask.save(home / "masks" / f"{name}.png")
            size = {"width": SIDE, "height": SIDE}
            pictures.append({"id": number, "file_name": f"{name}.png", **size})
            boxes += [{**box, "image_id": number} for box in found]
        (home / f"{part}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        facts = {
            "images": pictures,
            "annotations": [{"id": place, **box} for place, box in enumerate(boxes, start=1)],
            "categories": [{"id": k, "name": kind} for k, kind in enumerate(KINDS, start=1)],
        }
        (home / f"instances_{part}.json").write_text(json.dumps(facts), encoding="utf-8")
    names = ["background", *KINDS]
    (home / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def _draw(random: np.random.Generator) -> tuple[Image.Image, Image.Image, list[dict[str, Any]]]:
    """A picture, its mask, and the box of every shape that is to be seen, as COCO describes it."""
    image = Image.fromarray(_ground(random))
    mask = Image.new("L", (SIDE, SIDE), 0)
    instances = Image.new("L", (SIDE, SIDE), 0)
    kinds = random.integers(1, len(KINDS) + 1, random.integers(1, 5)).tolist()
    for number, kind in enumerate(kinds, start=1):
        radius = random.uniform(6, 14)
        x, y = random.uniform(radius, SIDE - radius, 2)
        colour = tuple(random.integers(0, 256, 3).tolist())
        for paper, ink in ((image, colour), (mask, kind), (instances, number)):
            _shape(ImageDraw.Draw(paper), kind, x, y, radius, ink)
    seen = np.asarray(instances)
    found = []
    for number, kind in enumerate(kinds, start=1):
        rows, columns = np.nonzero(seen == number)
        if len(rows) < 20:  # hidden behind the others
            continue
        left, top = int(columns.min()), int(rows.min())
        width, height = int(columns.max()) - left + 1, int(rows.max()) - top + 1
        runs = coco.encode(np.asfortranarray(seen == number, dtype=np.uint8))
        outline = {**runs, "counts": runs["counts"].decode("ascii")}
        box = {"bbox": [left, top, width, height], "area": len(rows), "iscrowd": 0}
        found.append({"category_id": kind, "segmentation": outline, **box})
    return image, mask, found


def _shape(
    paper: ImageDraw.ImageDraw, kind: int, x: float, y: float, radius: float, ink: Any
) -> None:
    if kind == 1:
        paper.ellipse([x - radius, y - radius, x + radius, y + radius], fill=ink)
    elif kind == 2:
        side = 0.85 * radius
        paper.rectangle([x - side, y - side, x + side, y + side], fill=ink)
    else:
        base = y + 0.8 * radius
        paper.polygon([(x, y - radius), (x - radius, base), (x + radius, base)], fill=ink)


def _ground(random: np.random.Generator) -> NDArray[np.uint8]:
    """A ground (SIDE, SIDE, 3) that shades from one grey to another, with noise."""
    first, last = random.uniform(40, 215, 2)
    shade = np.linspace(first, last, SIDE)[:, None, None] + np.zeros((SIDE, SIDE, 3))
    return (shade + random.normal(0, 12, shade.shape)).clip(0, 255).astype(np.uint8)
