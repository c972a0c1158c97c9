"""Each operation on a whole batch is torchvision's on one image after the other."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as T

from cohobate.data import operations
from cohobate.data.operations import KIND, OPERATIONS, operate

SIZE = 32


def pictures(count: int, size: int = SIZE) -> torch.Tensor:
    """Smooth colours with some noise: pixels of which neighbours are alike, as in photographs."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=draw) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    noise = 30 * torch.randn(count, 3, size, size, generator=draw)
    return (smooth + noise).clamp(0, 255).byte()


AMOUNTS = {
    **dict.fromkeys(("shear_x", "shear_y"), (-0.3, 0.0, 0.11, 0.99)),
    **dict.fromkeys(("translate_x", "translate_y"), (-14.5, -1.0, 0.0, 3.7, 32.0)),
    "rotate": (-135.0, -30.0, 0.0, 7.0, 90.5),
    **dict.fromkeys(
        ("brightness", "color", "contrast", "sharpness"), (-0.99, -0.3, 0.0, 0.27, 0.9)
    ),
    "posterize": (0.0, 2.0, 4.0, 7.0, 8.0),
    "solarize": (0.0, 0.2, 0.5, 1.0),
}
"""Amounts of each operation; one of no account for the others."""


def alone(name: str, image: torch.Tensor, amount: float) -> torch.Tensor:
    """What torchvision makes of one image."""
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    if name.startswith("shear"):
        slope = math.degrees(math.atan(amount))
        shear = [slope, 0.0] if name == "shear_x" else [0.0, slope]
        return T.affine(image, **{**still, "shear": shear}, center=[0, 0])
    if name.startswith("translate"):
        way = [int(amount), 0] if name == "translate_x" else [0, int(amount)]
        return T.affine(image, **{**still, "translate": way})
    return {
        "identity": lambda: image,
        "rotate": lambda: T.rotate(image, amount),
        "brightness": lambda: T.adjust_brightness(image, 1 + amount),
        "color": lambda: T.adjust_saturation(image, 1 + amount),
        "contrast": lambda: T.adjust_contrast(image, 1 + amount),
        "sharpness": lambda: T.adjust_sharpness(image, 1 + amount),
        "posterize": lambda: T.posterize(image, int(amount)),
        "solarize": lambda: T.solarize(image, 255 * amount),
        "auto_contrast": lambda: T.autocontrast(image),
        "equalize": lambda: T.equalize(image),
        "invert": lambda: T.invert(image),
    }[name]()


def apart(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return (found.int() - expected.int()).abs()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [SIZE, 7, 1])
def test_an_operation_is_that_of_torchvision(name, size):
    images = pictures(16, size)
    for amount in AMOUNTS.get(name, (0.7,)):
        kinds = torch.full((16,), KIND[name])
        found = operate(images, kinds, torch.full((16,), amount))
        expected = torch.stack([alone(name, image, amount) for image in images])
        assert (found.dtype, found.shape) == (torch.uint8, images.shape)
        if name in ("shear_x", "shear_y", "rotate"):  # rounding decides which pixel is nearest,
            other = (apart(found, expected) > 0).float().mean()
            assert other < (0.01 if size == SIZE else 0.2), amount
        else:  # and of what lies just between two values, which it is
            assert apart(found, expected).max() <= 1, amount


def test_every_image_has_an_operation_and_an_amount_of_its_own():
    cases = [(name, amount) for name in OPERATIONS for amount in AMOUNTS.get(name, (0.7,))]
    images = pictures(len(cases))
    kinds = torch.tensor([KIND[name] for name, _ in cases])
    amounts = torch.tensor([amount for _, amount in cases])
    found = operate(images, kinds, amounts)
    assert torch.equal(operations._each_to_all(images, kinds, amounts), found)
    for row, image in enumerate(images):
        one = operate(image[None], kinds[row : row + 1], amounts[row : row + 1])
        assert torch.equal(found[row], one[0]), cases[row]
    assert torch.equal(images, pictures(len(cases)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_images_of_one_colour_stay_images(name):
    for value in (0, 100, 255):
        flat = torch.full((1, 3, SIZE, SIZE), value, dtype=torch.uint8)
        amount = AMOUNTS.get(name, (0.7,))[-1]
        found = operate(flat, torch.tensor([KIND[name]]), torch.tensor([amount]))
        assert apart(found[0], alone(name, flat[0], amount)).max() <= 1
