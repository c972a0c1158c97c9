"""VGG with batch norm for small images.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, https://arxiv.org/abs/1409.1556, with one linear classifier as in RepDistiller
(https://arxiv.org/abs/1910.10699).
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from cohobate.models.cifar._chain import (
    Chain,
    ConvNormAct,
    PostActivationStage,
    create,
    default_cfg,
)

__all__ = ["VGG"]

WIDTHS = (64, 128, 256, 512, 512)


class PoolLargeMaps(nn.Module):
    """Max-pool 2 where the map is larger than 4: on images of 64 px, not on those of 32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if min(x.shape[-2:]) > 4 else x


def convolutions(in_channels: int, width: int, depth: int) -> PostActivationStage:
    channels = [in_channels] + [width] * depth
    return PostActivationStage(*(ConvNormAct(a, b, bias=True) for a, b in pairwise(channels)))


class VGG(Chain):
    """Five blocks of 3x3 convolutions of width 64, 128, 256, 512, 512, each with bias, BN and ReLU.

    depths: convolutions of each block.

    Taps (B, 64, 32, 32), (B, 128, 16, 16), (B, 256, 8, 8), (B, 512, 4, 4) on 32 px: all *before*
    the pooling, which is the first layer of the stage that follows. The last two blocks, of one
    width and on 32 px of one size, are the one stage `layer4`; at 64 px a pooling lies between
    them, so that its map is 4 px wide there too.
    """

    def __init__(self, depths: tuple[int, ...], in_chans: int = 3, **head: Any):
        rows = zip((in_chans, *WIDTHS), WIDTHS, depths)
        first, second, third, fourth, fifth = (convolutions(*row) for row in rows)
        super().__init__(
            stem=nn.Identity(),
            stages=[
                first,
                PostActivationStage(nn.MaxPool2d(2), *second),
                PostActivationStage(nn.MaxPool2d(2), *third),
                PostActivationStage(nn.MaxPool2d(2), *fourth, PoolLargeMaps(), *fifth),
            ],
            widths=(64, 128, 256, 512),
            strides=(1, 2, 2, 2),
            again=partial(convolutions, WIDTHS[-1], WIDTHS[-1], depths[-2] + depths[-1]),
            **head,
        )


def _create(variant: str, pretrained: bool, depths: tuple[int, ...], **kwargs) -> VGG:
    return create(VGG, variant, pretrained, 4, depths=depths, **kwargs)


default_cfgs = generate_default_cfgs(
    {f"cifar_vgg{depth}": default_cfg(first_conv="layer1.0.conv") for depth in (8, 11, 13, 16, 19)}
)


@register_model
def cifar_vgg8(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-8 with batch norm."""
    return _create("cifar_vgg8", pretrained, (1, 1, 1, 1, 1), **kwargs)


@register_model
def cifar_vgg11(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-11 with batch norm."""
    return _create("cifar_vgg11", pretrained, (1, 1, 2, 2, 2), **kwargs)


@register_model
def cifar_vgg13(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-13 with batch norm."""
    return _create("cifar_vgg13", pretrained, (2, 2, 2, 2, 2), **kwargs)


@register_model
def cifar_vgg16(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-16 with batch norm."""
    return _create("cifar_vgg16", pretrained, (2, 2, 3, 3, 3), **kwargs)


@register_model
def cifar_vgg19(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-19 with batch norm."""
    return _create("cifar_vgg19", pretrained, (2, 2, 4, 4, 4), **kwargs)
