"""The operations of AutoAugment and its kin on a batch: to each image its own, by an amount of its own."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("brightness", "color", "contrast", "sharpness"),
    *("posterize", "solarize", "auto_contrast", "equalize", "invert"),
)
"""Their names; an image's operation is given as a place in this list."""
KIND = {name: number for number, name in enumerate(OPERATIONS)}
SIGNED = (KIND["shear_x"], KIND["sharpness"])
"""The first and the last of those whose amount may be negative."""


def operate(images: Tensor, kinds: Tensor, amounts: Tensor) -> Tensor:
    """One operation on each of uint8 images (B, 3, S, S).

    kinds: (B,) places in `OPERATIONS`.
    amounts: (B,) the tangent for `shear`, pixels for `translate`, degrees for `rotate`, for
        `brightness` to `sharpness` by how much the factor is more than 1, the bits kept for
        `posterize`, and for `solarize` the lightness, from 0 to 1, from which on images are
        inverted; else of no account.

    As torchvision does them one by one, on the nearest pixels and with black beyond the border.
    """
    each = _each_to_all if images.is_cuda else _each_to_its_own
    return each(images, kinds, amounts)


def _each_to_its_own(images: Tensor, kinds: Tensor, amounts: Tensor) -> Tensor:
    """On a processor, where to do all to all images would take several times as long."""
    changed = images.clone()
    for names, change in FAMILIES:
        rows = _any(kinds, names).nonzero().flatten()
        if len(rows):
            changed[rows] = change(images[rows], kinds[rows], amounts[rows])
    return changed


def _each_to_all(images: Tensor, kinds: Tensor, amounts: Tensor) -> Tensor:
    """On a GPU, where to find out which images are whose the processor would have to wait for it."""
    changed = images
    for names, change in FAMILIES:
        chosen = _any(kinds, names).view(-1, 1, 1, 1)
        changed = torch.where(chosen, change(images, kinds, amounts), changed)
    return changed


def _any(kinds: Tensor, names: tuple[str, ...]) -> Tensor:
    return torch.stack([kinds == KIND[name] for name in names]).any(0)


def _moved(images: Tensor, kinds: Tensor, amounts: Tensor) -> Tensor:
    """What was sheared, translated or rotated: each pixel is that of the place it came from."""

    def of(name: str) -> Tensor:
        return torch.where(kinds == KIND[name], amounts, 0.0).view(-1, 1, 1)

    size = images.shape[-1]
    line = torch.arange(size, device=images.device) + 0.5
    x, y = line, line[:, None]
    angle, half = of("rotate") * (pi / 180), size / 2
    across = angle.cos() * (x - half) - angle.sin() * (y - half) + half
    down = angle.sin() * (x - half) + angle.cos() * (y - half) + half
    across = (across + of("shear_x") * y - of("translate_x").trunc()).floor()
    down = (down + of("shear_y") * x - of("translate_y").trunc()).floor()
    seen = (across >= 0) & (across < size) & (down >= 0) & (down < size)
    place = torch.where(seen, down * size + across, 0.0).long().flatten(1)[:, None]
    found = images.flatten(2).gather(2, place.expand(-1, images.shape[1], -1)).view(images.shape)
    return found * seen[:, None]


def _enhanced(images: Tensor, kinds: Tensor, amounts: Tensor) -> Tensor:
    """What was led away from a dull image, or towards it: black, grey, its mean grey or blurred."""
    kind, amount = kinds.view(-1, 1, 1, 1), amounts.view(-1, 1, 1, 1)
    floats = images.float()
    red, green, blue = floats.split(1, 1)
    grey = (0.2989 * red + 0.587 * green + 0.114 * blue).floor()
    dull = torch.where(kind == KIND["color"], grey, 0.0)
    dull = torch.where(kind == KIND["contrast"], grey.mean((1, 2, 3), keepdim=True), dull)
    dull = torch.where(kind == KIND["sharpness"], _blurred(floats), dull)
    return (floats + amount * (floats - dull)).clamp_(0, 255).byte()


def _blurred(floats: Tensor) -> Tensor:
    """Every pixel averaged with its neighbours, five times as heavy as they; the border stays."""
    if floats.shape[-1] < 3:
        return floats
    rows = floats[..., :-2, :] + floats[..., 1:-1, :] + floats[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = ((sums + 4 * floats[..., 1:-1, 1:-1]) / 13).round()
    blurred = floats.clone()
    blurred[..., 1:-1, 1:-1] = inner
    return blurred


def _posterized(images: Tensor, kinds: Tensor, bits: Tensor) -> Tensor:
    dropped = 8 - bits.clamp(0, 8).long().view(-1, 1, 1, 1)
    return images & (256 - 2**dropped).to(images.dtype)


def _solarized(images: Tensor, kinds: Tensor, lightness: Tensor) -> Tensor:
    return torch.where(images >= 255 * lightness.view(-1, 1, 1, 1), ~images, images)


def _inverted(images: Tensor, *_: Tensor) -> Tensor:
    return ~images


def _stretched(images: Tensor, *_: Tensor) -> Tensor:
    """Each channel's darkest pixel black and its lightest white, unless they are the same."""
    floats = images.float()
    darkest = floats.amin((2, 3), keepdim=True)
    span = floats.amax((2, 3), keepdim=True) - darkest
    stretched = (floats - darkest) / (span * (1 / 255)).clamp_min(1 / 255)
    return torch.where(span > 0, stretched.clamp(0, 255).byte(), images)


def _equalized(images: Tensor, *_: Tensor) -> Tensor:
    """Each channel's values spread so that all are about as frequent, as PIL does it."""
    values = images.flatten(2).long()
    counts = values.new_zeros((*values.shape[:2], 256))
    counts.scatter_add_(2, values, torch.ones_like(values))
    below = counts.cumsum(2) - counts
    lightest = values.amax(2, keepdim=True)
    step = (values.shape[2] - counts.gather(2, lightest)) // 255
    table = ((below + step // 2) // step.clamp_min(1)).clamp_(0, 255)
    equalized = table.gather(2, values).view(images.shape).to(images.dtype)
    return torch.where(step[..., None] > 0, equalized, images)


Change = Callable[[Tensor, Tensor, Tensor], Tensor]
FAMILIES: tuple[tuple[tuple[str, ...], Change], ...] = (
    (OPERATIONS[1:6], _moved),
    (OPERATIONS[6:10], _enhanced),
    (("posterize",), _posterized),
    (("solarize",), _solarized),
    (("auto_contrast",), _stretched),
    (("equalize",), _equalized),
    (("invert",), _inverted),
)
"""Which operations are done together, and how, given images, kinds and amounts."""
