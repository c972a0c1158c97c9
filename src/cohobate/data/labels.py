"""Mask files: a number for every pixel of an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from torch import Tensor

from cohobate.data.images import BadImage, dimensions, reading

MODES = ("L", "P", "1", "I", "I;16")
"""What Pillow calls images of one number a pixel."""


def numbers(mask: Path, image: Path) -> Tensor:
    """The numbers in a mask, int64 (H, W). Raises BadImage as `check` does."""
    with _opened(mask, image) as file:
        return torch.from_numpy(np.array(file).astype(np.int64))


def check(mask: Path, image: Path) -> None:
    """Holds a mask against its image by their headers.

    Raises BadImage for a file that cannot be read, one of colours, and another size than the image's,
    as displayed.
    """
    with _opened(mask, image):
        pass


@contextmanager
def _opened(mask: Path, image: Path) -> Iterator[Image.Image]:
    size = dimensions(image)
    with reading(mask), _segmented(mask) if mask.suffix == ".mat" else Image.open(mask) as file:
        if file.mode not in MODES:
            raise BadImage(mask, f"a mask holds one number a pixel, and this is {file.mode}")
        if file.size != size:
            own, other = (f"{width} × {height}" for width, height in (file.size, size))
            raise BadImage(mask, f"it is {own} pixels, and its image {image.name} {other}")
        yield file


def _segmented(path: Path) -> Image.Image:
    """A mask of SBD, which is in a file of MATLAB's."""
    table: Any = loadmat(path)
    return Image.fromarray(table["GTcls"][0]["Segmentation"][0])
