"""ShuffleNetV2 for small images.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
https://arxiv.org/abs/1807.11164, on a 1x1 stem of stride 1 as in RepDistiller
(https://arxiv.org/abs/1910.10699).
"""

from functools import partial
from typing import Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from cohobate.models.cifar._chain import (
    Chain,
    ConvNormAct,
    PostActivation,
    PostActivationStage,
    conv_norm,
    create,
    default_cfg,
)
from cohobate.models.cifar.shufflenetv1 import shuffle

__all__ = ["ShuffleNetV2"]


class DownBlock(PostActivation):
    """Two branches, at stride 2 in the network, concatenated and shuffled."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2):
        super().__init__()
        half = out_channels // 2
        self.left = nn.Sequential(
            conv_norm(in_channels, in_channels, 3, stride, groups=in_channels),
            conv_norm(in_channels, half, 1),
        )
        self.right = nn.Sequential(
            ConvNormAct(in_channels, half, 1),
            conv_norm(half, half, 3, stride, groups=half),
            conv_norm(half, half, 1),
        )

    def before_activation(self, x: Tensor) -> Tensor:
        return shuffle(torch.cat([self.left(x), self.right(x)], 1), 2)


class BasicBlock(PostActivation):
    """One half of the channels passes through, the other is convolved; both are shuffled.

    The half that passes through comes out of a ReLU already, and the last one leaves it as it is.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.right = nn.Sequential(
            ConvNormAct(half, half, 1),
            conv_norm(half, half, 3, groups=half),
            conv_norm(half, half, 1),
        )

    def before_activation(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        return shuffle(torch.cat([kept, self.right(changed)], 1), 2)


def blocks(in_channels: int, width: int, depth: int, stride: int = 2) -> PostActivationStage:
    """A down block, of whatever stride, and `depth` basic blocks."""
    down = DownBlock(in_channels, width, stride)
    return PostActivationStage(down, *(BasicBlock(width) for _ in range(depth)))


class ShuffleNetV2(Chain):
    """Stem (B, 24, H, W), then stages of width 116, 232, 464 at stride 2, 4, 8, and 1x1 to 1024."""

    def __init__(self, in_chans: int = 3, **head: Any):
        super().__init__(
            stem=ConvNormAct(in_chans, 24, 1),
            stages=[blocks(24, 116, 3), blocks(116, 232, 7), blocks(232, 464, 3)],
            widths=(116, 232, 464),
            strides=(2, 2, 2),
            final=ConvNormAct(464, 1024, 1),
            num_features=1024,
            again=partial(blocks, 464, 464, 3, 1),
            **head,
        )


default_cfgs = generate_default_cfgs({"cifar_shufflenetv2": default_cfg()})


@register_model
def cifar_shufflenetv2(pretrained: bool = False, **kwargs) -> ShuffleNetV2:
    """ShuffleNetV2 of size 1: widths 116, 232, 464."""
    return create(ShuffleNetV2, "cifar_shufflenetv2", pretrained, 3, **kwargs)
