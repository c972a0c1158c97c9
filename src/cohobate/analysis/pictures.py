"""Images inside a page: small files written out as data URIs, so that nothing has to be fetched."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

START = "data:image/jpeg;base64,"
QUALITY = 85
LARGEST = 48
"""Pixels of a thumbnail's side, at most."""
CELLS = 1000
"""Thumbnails of that side on a sheet, about two megabytes; of more, each is smaller."""
HEAT = "inferno"
"""Matplotlib's name for colours that rise evenly in brightness, whoever looks."""


@dataclass(frozen=True)
class Sheet:
    """Many thumbnails in one picture, row by row.

    side: of a thumbnail, in pixels. columns: how many stand in a row.
    """

    picture: str
    side: int
    columns: int
    count: int


def picture(image: Tensor, side: int) -> str:
    """An image (3, H, W) in [0, 1] as a data URI of `side` × `side` pixels."""
    return _encoded(_resized(image[None], side)[0])


def shrunk(image: Image.Image, side: int) -> str:
    """An image as a data URI, made smaller where its longer side has more than `side` pixels."""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.BOX)
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling=0)  # edges of colours stay sharp
    return START + b64encode(file.getvalue()).decode("ascii")


def overlay(image: Tensor, heat: Tensor, side: int) -> str:
    """A map (h, w) in [0, 1] in colours over the grey of an image (3, H, W), as a data URI."""
    grey = _resized(image[None], side)[0].mean(0, keepdim=True)
    smooth = F.interpolate(heat[None, None].float(), size=(side, side), mode="bilinear")[0, 0]
    colours = colormaps[HEAT](smooth.clamp(0, 1).cpu().numpy())[..., :3]
    colours = torch.from_numpy(np.ascontiguousarray(colours)).permute(2, 0, 1)
    return _encoded(0.35 * grey.cpu() + 0.65 * colours)


def sheet(images: Tensor) -> Sheet:
    """Thumbnails of images (N, 3, H, W) in [0, 1], N of one or more, in a picture about as wide as high."""
    side = min(images.shape[-1], LARGEST, int(LARGEST * sqrt(CELLS / len(images))))
    small = _resized(images, side)
    columns = ceil(sqrt(len(small)))
    rows = -(-len(small) // columns)
    small = torch.cat([small, small.new_zeros(rows * columns - len(small), 3, side, side)])
    grid = small.view(rows, columns, 3, side, side).permute(2, 0, 3, 1, 4)
    return Sheet(_encoded(grid.reshape(3, rows * side, columns * side)), side, columns, len(images))


def opened(uri: str) -> Image.Image:
    """The picture in a data URI of this module."""
    return Image.open(BytesIO(b64decode(uri.removeprefix(START))))


def without(node: object) -> object:
    """Nested tables and lists without the pictures in them."""
    if isinstance(node, dict):
        return {k: without(value) for k, value in node.items() if not _is_picture(value)}
    if isinstance(node, list | tuple):
        return [without(value) for value in node if not _is_picture(value)]
    return node


def _is_picture(value: object) -> bool:
    return isinstance(value, str) and value.startswith(START)


def _resized(images: Tensor, side: int) -> Tensor:
    """Images (N, 3, side, side): pixels stay sharp where they grow, and are averaged where they shrink."""
    if images.shape[-1] < side:
        return F.interpolate(images, size=(side, side), mode="nearest")
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def _encoded(image: Tensor) -> str:
    pixels = (255 * image.clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return START + b64encode(file.getvalue()).decode("ascii")
