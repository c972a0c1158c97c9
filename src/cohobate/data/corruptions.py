"""Ten common corruptions of images at five severities, made on the fly.

Hendrycks and Dietterich, ICLR 2019, https://arxiv.org/abs/1903.12261. Images are (B, 3, S, S)
float32 in [0, 1], and so is what comes back. An image's draws depend on `seed` and on its id alone:
they are the same at every severity, in every batch and on every device.

How strong a severity is follows the paper's published sets: up to 64 pixels CIFAR-10-C, made for 32;
above that ImageNet-C, made for 224. Lengths grow with the side of the image from there.

Differs from the paper: motion blur takes samples between pixels, the fog's clouds are a sum of
octaves of smooth noise, discs are smoothed as far as three deviations, and nothing is rounded to 8
bits but what is stored as JPEG. Numbers are therefore close to those of the published sets, but not the same.
"""

from collections.abc import Callable
from math import ceil, pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from cohobate.data.draws import generator

SMALL = 64
"""The largest side, in pixels, at which severities are those of CIFAR-10-C."""
SEVERITIES = (1, 2, 3, 4, 5)
STRENGTHS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "gaussian_noise": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": ((500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": ((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus_blur": (
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion_blur": (
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "fog": (
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": ((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": ((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
"""Of each corruption the parameters of every severity, in small images and in large ones."""


def strength(name: str, severity: int, size: int) -> Any:
    """The parameters of a corruption; each function says what they are."""
    assert severity in SEVERITIES
    return STRENGTHS[name][size > SMALL][severity - 1]


def scale(size: int) -> float:
    """By how much lengths are longer than in the images that the parameters were chosen for."""
    return size / (224 if size > SMALL else 32)


def gaussian_noise(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """Normal noise on every value; its deviation."""
    deviation = strength("gaussian_noise", severity, images.shape[-1])
    noise = _each(ids, seed, lambda _, draws: torch.randn(images.shape[1:], generator=draws))
    return (images + deviation * noise.to(images)).clamp(0, 1)


def shot_noise(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """Light comes in grains: a Poisson count in the place of each value; grains in full white."""
    grains = strength("shot_noise", severity, images.shape[-1])
    wanted = (images * grains).cpu()
    counts = _each(ids, seed, lambda row, draws: torch.poisson(wanted[row], generator=draws))
    return (counts.to(images) / grains).clamp(0, 1)


def impulse_noise(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """Salt and pepper: values that are 0 or 1; the share of them."""
    share = strength("impulse_noise", severity, images.shape[-1])
    drawn = _each(ids, seed, lambda _, draws: torch.rand(images.shape[1:], generator=draws))
    drawn = drawn.to(images)
    salt, pepper = drawn < share / 2, drawn >= 1 - share / 2
    return images.masked_fill(salt, 1).masked_fill(pepper, 0)


def defocus_blur(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """Every point becomes a disc; its radius, and the deviation by which its edge is smoothed."""
    size = images.shape[-1]
    radius, deviation = strength("defocus_blur", severity, size)
    longer, soft = scale(size), scale(size) * deviation
    reach = min(ceil(longer * (radius + 0.5)) + ceil(3 * soft), size - 1)
    parts = 8  # of a pixel, each of which lies in one pixel of the original
    line = (torch.arange((2 * reach + 1) * parts) + 0.5) / parts - (reach + 0.5)
    line = (line / longer).round()
    disc = F.avg_pool2d((line**2 + line[:, None] ** 2 <= radius**2).float()[None], parts)
    width = min(2 * ceil(3 * soft) + 1, 2 * reach + 1)
    kernel: Tensor = functional.gaussian_blur(disc, [width, width], [soft, soft])[0]
    kernel = (kernel / kernel.sum()).to(images).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(images, 4 * [reach], "reflect"), kernel, groups=3).clamp(0, 1)


def motion_blur(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """The camera moves along a line, up to 45° from the horizontal.

    Parameters: half the length of the line, and the deviation with which what is seen fades along it.
    """
    size = images.shape[-1]
    radius, deviation = (scale(size) * each for each in strength("motion_blur", severity, size))
    steps = torch.arange(2 * round(radius) + 1.0)
    weights = (-(steps**2) / (2 * deviation**2)).exp()
    drawn = _each(ids, seed, lambda _, draws: torch.rand(1, generator=draws))[:, 0].to(images)
    angle = (drawn - 0.5) * (pi / 2)
    way = torch.stack([angle.cos(), angle.sin()], 1) * (2 / size)  # of a pixel, in grid units
    still = F.affine_grid(
        torch.eye(2, 3).to(images).expand(len(images), 2, 3),
        list(images.shape),
        align_corners=False,
    )
    blurred = torch.zeros_like(images)
    for step, weight in zip(steps.tolist(), (weights / weights.sum()).tolist()):
        grid = still + step * way[:, None, None]
        blurred += weight * F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return blurred.clamp(0, 1)


def fog(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """White clouds lie over the image; how thick they are, and how fast finer ones are fainter.

    Octave k, whose noise is drawn on a lattice of 2^k cells a side, counts with decay^-2k.
    """
    thickness, decay = strength("fog", severity, images.shape[-1])
    size = images.shape[-1]
    lattices = [2**octave + 1 for octave in range(1, (size - 1).bit_length() + 1)]
    points = [side**2 for side in lattices]
    drawn = _each(ids, seed, lambda _, draws: torch.rand(sum(points), generator=draws))
    clouds = images.new_zeros(len(images), 1, size, size)
    for octave, layer in enumerate(drawn.to(images).split(points, 1)):
        coarse = layer.view(-1, 1, lattices[octave], lattices[octave])
        smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
        clouds += decay ** (-2 * octave) * smooth
    low, high = clouds.amin((2, 3), keepdim=True), clouds.amax((2, 3), keepdim=True)
    clouds = (clouds - low) / (high - low)
    lightest = images.amax((1, 2, 3), keepdim=True)
    return ((images + thickness * clouds) * lightest / (lightest + thickness)).clamp(0, 1)


def brightness(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """The value of every pixel's hue, saturation and value is raised; by how much."""
    value = images.amax(1, keepdim=True)
    raised = (value + strength("brightness", severity, images.shape[-1])).clamp(max=1)
    return torch.where(value > 0, images * (raised / value), raised)


def contrast(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """Every channel is drawn towards its mean; the share that is left."""
    mean = images.mean((2, 3), keepdim=True)
    left = strength("contrast", severity, images.shape[-1])
    return (mean + left * (images - mean)).clamp(0, 1)


def pixelate(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """The image is made smaller and larger again, in square pixels; the share of its side."""
    size = images.shape[-1]
    small = max(1, int(size * strength("pixelate", severity, size)))
    return F.interpolate(
        F.interpolate(images, (small, small), mode="area"), (size, size), mode="nearest-exact"
    )


def jpeg_compression(images: Tensor, severity: int, ids: Tensor, seed: int = 0) -> Tensor:
    """The image is stored as JPEG and read again; the quality."""
    quality = strength("jpeg_compression", severity, images.shape[-1])
    stored = functional.jpeg((images * 255).round().byte().cpu(), quality)
    return stored.to(images) / 255


Corruption = Callable[[Tensor, int, Tensor, int], Tensor]
CORRUPTIONS: dict[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        *(gaussian_noise, shot_noise, impulse_noise, defocus_blur, motion_blur),
        *(fog, brightness, contrast, pixelate, jpeg_compression),
    )
}
"""The corruptions by name, each taking images (B, 3, S, S), a severity from 1 to 5, ids (B,) and a seed."""


def _each(ids: Tensor, seed: int, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
    """What is drawn for every image, given its row and a generator of its own; on the CPU."""
    return torch.stack([draw(row, generator(seed, id)) for row, id in enumerate(ids.tolist())])
