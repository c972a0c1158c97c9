"""An image file to RGB, whatever its colour mode; a file that cannot be read is named."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2.functional import pil_to_tensor

T = TypeVar("T")
Place = Callable[[int, int], Tensor]
"""From the width and height of an image to boxes (N, 4): left, top, width, height, in pixels."""

THREADS = min(os.cpu_count() or 1, 16)
SKIP = "data.skip_bad=true goes on without such files"
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # an EXIF tag and values of it


class BadImage(ValueError):
    """A file that cannot be read as an image; says which and why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"image {self.path} cannot be read: {self.reason}"


def dimensions(path: Path) -> tuple[int, int]:
    """Width and height as displayed, from the header alone.

    Raises BadImage.
    """
    with reading(path), Image.open(path) as image:
        return _displayed(image)


def parts(path: Path, place: Place, size: int) -> Tensor:
    """Parts of one image as displayed, each resized, antialiased: uint8 (N, 3, size, size).

    Raises BadImage.
    """
    with reading(path):
        file = Image.open(path)
        width, height = _displayed(file)
    boxes = place(width, height).tolist()
    share = max(size / min(box[2:]) for box in boxes)
    with reading(path), file:
        if share > 0.5 and _is_plain_jpeg(file):
            return _parts_of_jpeg(path, boxes, size)
        image, scale = _decode(file, share)
    planes = bytearray()
    for left, top, wide, high in boxes:
        corners = (scale * left, scale * top, scale * (left + wide), scale * (top + high))
        view = image.resize((size, size), Image.Resampling.BILINEAR, box=corners)
        for channel in image.getbands():
            planes += view.tobytes("raw", channel)
    return torch.frombuffer(planes, dtype=torch.uint8).view(-1, 3, size, size)


def window(path: Path, box: Sequence[float], shape: tuple[int, int]) -> Tensor:
    """A part of one image as displayed, resized, antialiased: uint8 (3, *shape).

    box: its left, top, right and bottom in pixels. Raises BadImage.
    """
    left, top, right, bottom = box
    high, wide = shape
    share = max(high / (bottom - top), wide / (right - left))
    with reading(path), Image.open(path) as file:
        image, scale = _decode(file, share)
        edges = (scale * left, scale * top, scale * right, scale * bottom)
        view = image.resize((wide, high), Image.Resampling.BILINEAR, box=edges)
    return pil_to_tensor(view)


def whole(path: Path) -> Tensor:
    """An image as displayed, at its own size: uint8 (3, H, W).

    Raises BadImage.
    """
    with reading(path), Image.open(path) as file:
        return pil_to_tensor(_decode(file, 1)[0])


def _is_plain_jpeg(file: Image.Image) -> bool:
    """Whether a file is stored as it is displayed, in grey or colour."""
    upright = file.getexif().get(_ORIENTATION, 1) == 1
    return file.format == "JPEG" and file.mode in ("L", "RGB") and upright


def _parts_of_jpeg(path: Path, boxes: list[list[float]], size: int) -> Tensor:
    """`parts` of a JPEG that is not decoded smaller: in half the time that Pillow takes.

    Boxes are rounded to whole pixels.
    """
    pixels: Any = decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
    views = torch.empty(len(boxes), 3, size, size, dtype=torch.uint8)
    for view, box in zip(views, boxes):
        left, top, wide, high = (max(round(edge), low) for edge, low in zip(box, (0, 0, 1, 1)))
        part = pixels[None, :, top : top + high, left : left + wide]
        view.copy_(F.interpolate(part, (size, size), mode="bilinear", antialias=True)[0])
    return views


def known(boxes: Tensor, width: int, height: int) -> Tensor:
    """The boxes (N, 4) of an image whose width and height they were made for."""
    return boxes


def centre(width: int, height: int, share: float = 1.0) -> Tensor:
    """One box (1, 4): the central square whose side is `share` of the short side."""
    side = share * min(width, height)
    return torch.tensor([[(width - side) / 2, (height - side) / 2, side, side]])


def stack(paths: Sequence[Path], size: int) -> Tensor:
    """The central squares of many files, uint8 (N, 3, size, size), read by several threads.

    Raises BadImage.
    """
    images = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)

    def fill(row: int) -> None:
        images[row] = parts(paths[row], centre, size)[0]

    with ThreadPool(THREADS) as pool:
        for _ in pool.imap(fill, range(len(paths)), chunksize=16):
            pass
    return images


def check(paths: Sequence[Path]) -> list[BadImage]:
    """Decodes every file, as small as its format allows; returns those that failed."""

    def fault(path: Path) -> BadImage | None:
        try:
            with reading(path), Image.open(path) as image:
                _decode(image, 0)
        except BadImage as error:
            return error
        return None

    with ThreadPool(THREADS) as pool:
        return [error for error in pool.imap(fault, paths, chunksize=16) if error]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises, and they raise anything, into BadImage."""
    try:
        yield
    except BadImage:
        raise
    except Image.UnidentifiedImageError as error:
        raise BadImage(path, "it is not an image of a known format") from error
    except Exception as error:
        raise BadImage(path, str(error) or type(error).__name__) from error


def or_fault(make: Callable[[], T]) -> T | BadImage:
    """What is made, or the fault of its first bad file: an error would arrive as a traceback."""
    try:
        return make()
    except BadImage as error:
        return error


def _decode(image: Image.Image, share: float) -> tuple[Image.Image, float]:
    """RGB, upright, transparency laid over white; and the scale at which it was decoded.

    A JPEG is decoded at the smallest scale, down to 1/8, that is not below `share`.
    """
    width, height = image.size
    wanted = (int(width * share) or 1, int(height * share) or 1)
    drafted = image.draft(None, wanted) if share < 1 else None
    scale = drafted[1][2] / width if drafted else 1.0  # exact, where sizes are rounded up
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return _rgb(image), scale


def _displayed(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    turned = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    return (height, width) if turned else (width, height)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _eight_bits(np.asarray(image))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _eight_bits(values: np.ndarray) -> Image.Image:
    """Deep grey to 8 bits: by the range of 16 bits where the values are such, else by their own."""
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
    return Image.fromarray(scaled.round().astype(np.uint8))
