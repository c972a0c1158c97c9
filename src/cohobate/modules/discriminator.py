"""Telling two kinds of feature maps apart."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Discriminator(nn.Sequential):
    """Whether a pooled feature map is of the first kind or the second: two logits, two layers."""

    def __init__(self, channels: int, width: int = 128):
        super().__init__(nn.Linear(channels, width), nn.ReLU(inplace=True), nn.Linear(width, 2))

    def loss(self, first: Tensor, second: Tensor) -> Tensor:
        """Binary cross-entropy of telling maps (B, C, H, W) apart, (1, 0) against (0, 1).

        It is minimised by the discriminator and by the network alike: no gradient is reversed.
        """
        pooled = torch.cat([first.float().mean((2, 3)), second.float().mean((2, 3))])
        kind = F.one_hot(torch.arange(len(pooled), device=pooled.device) // len(first), 2)
        return F.binary_cross_entropy_with_logits(self(pooled).float(), kind.float())
