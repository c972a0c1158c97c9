"""The four rotations of an image: labels that tell class and rotation at once, and which is of which.

Lee et al., "Self-supervised Label Augmentation via Input Transformations", ICML 2020,
https://arxiv.org/abs/1910.05872. Rows go image by image (x0r0, x0r1, x0r2, x0r3, x1r0, ...), joint
classes class by class: class y turned r times is 4y + r.
"""

import torch
from torch import Tensor, nn

from cohobate.losses import cosines
from cohobate.models import Classifier
from cohobate.modules.connector import shapes

ROTATIONS = 4


def rotate(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) turned counter-clockwise by 0, 90, 180 and 270 degrees: (4B, 3, H, W).

    Mixed images are mixed first and turned then. Raises ValueError where H and W differ.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ValueError(
            f"rotations need square images, and these are {height} × {width}: choose one data.size"
            " for both sides"
        )
    return torch.stack([torch.rot90(images, r, (2, 3)) for r in range(ROTATIONS)], 1).flatten(0, 1)


def joint_labels(labels: Tensor) -> Tensor:
    """Soft joint labels (4B, 4C) of the rotations of images with soft labels (B, C)."""
    turned = torch.eye(ROTATIONS, dtype=labels.dtype, device=labels.device)
    return (labels[:, None, :, None] * turned[:, None, :]).flatten(2).flatten(0, 1)


def aggregate(joint_logits: Tensor, num_classes: int) -> Tensor:
    """Logits (B, C), float32, of joint logits (4B, 4C) on the rotations of B images.

    The mean over the rotations r of the logits that say "turned r times" where that is true: the
    aggregated inference of Lee et al.
    """
    joint = joint_logits.float().view(-1, ROTATIONS, num_classes, ROTATIONS)
    return joint.diagonal(dim1=1, dim2=3).mean(2)


def matching_head(model: Classifier) -> nn.Sequential:
    """Two linear layers on an embedding, as wide as it is: the rows that `matches` compares."""
    width = shapes(model, model.size).embedding
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width))


def parted(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows (4B, D), as `rotate` has them, those of upright images (B, D) and of turned ones (3B, D)."""
    every = rows.unflatten(0, (-1, ROTATIONS))
    return every[:, 0], every[:, 1:].flatten(0, 1)


def matches(rows: Tensor) -> Tensor:
    """The cosines (3B, B) of what was turned with what was not, of rows (4B, D)."""
    upright, turned = parted(rows)
    return cosines(turned, upright)


def origins(matrix: Tensor) -> Tensor:
    """Which of B images each row of `matches` (3B, B) is a turn of: (3B,)."""
    return torch.arange(len(matrix), device=matrix.device) // (ROTATIONS - 1)
