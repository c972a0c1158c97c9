"""Images of one size with boxes, for the tests of reading them."""

import json
from pathlib import Path

from PIL import Image

from cohobate.data import detection

WIDE, HIGH = 40, 30


def save(path: Path, size=(WIDE, HIGH)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)
    return path


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def load(root, name="coco", **options):
    return detection.load(name, root=root, **{"val": 0, **options})


def boxes(split, row):
    return [box.tolist() for box in split.boxes[split.of(row)]]
