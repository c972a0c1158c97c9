"""Where images of many sizes, and the boxes in them, lie in a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from cohobate.core import Batch

Shape = tuple[int, int]
"""A height and a width."""
CELL = 32
"""Heights and widths of batches are multiples of it."""
GREY = 114
"""What pads images, of 255."""


def within(boxes: Tensor, corners: Sequence[int], shape: Shape) -> tuple[Tensor, Tensor]:
    """The boxes whose centre lies in a part of an image, clipped to it, once it has that shape.

    Also which of the boxes (n,) they are.
    """
    left, top, right, bottom = corners
    high, wide = shape
    scale = boxes.new_tensor([wide / (right - left), high / (bottom - top)]).repeat(2)
    edge = boxes.new_tensor([wide, high])
    boxes = (boxes - boxes.new_tensor([left, top, left, top])) * scale
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    kept = ((centres > 0) & (centres < edge)).all(1)
    return boxes[kept].clamp_min(0).minimum(edge.repeat(2)), kept


def fitted(shape: Sequence[int], size: int) -> Shape:
    """Height and width of an image of that shape, once its long side is `size`."""
    high, wide = shape
    scale = size / max(high, wide)
    return max(1, round(scale * high)), max(1, round(scale * wide))


def padded(shapes: Sequence[Shape]) -> Shape:
    """The least multiples of `CELL` that hold all of the shapes."""
    high, wide = (-(-max(sides) // CELL) * CELL for sides in zip(*shapes))
    return high, wide


def alone(image: Tensor, size: int) -> Batch:
    """A batch of one image, uint8 (3, H, W), of whose boxes nothing is known, with a long side of `size`."""
    original = (image.shape[-2], image.shape[-1])
    high, wide = shape = fitted(original, size)
    images = image.new_full((1, 3, *padded([shape])), GREY)
    images[0, :, :high, :wide] = functional.resize(image, [high, wide], antialias=True)
    none = torch.zeros(0, device=image.device)
    target = {
        "boxes": none.view(0, 4),
        "labels": none.long(),
        "area": none,
        "crowd": none.bool(),
        "size": torch.tensor(shape),
        "original": torch.tensor(original),
    }
    target = {key: value.to(image.device) for key, value in target.items()}
    return Batch(images.float().div_(255), (target,), torch.zeros(1, dtype=torch.int64))
