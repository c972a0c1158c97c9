"""ShuffleNet for small images.

Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
CVPR 2018, https://arxiv.org/abs/1707.01083, on a 1x1 stem of stride 1 as in RepDistiller
(https://arxiv.org/abs/1910.10699), where a ReLU follows the depthwise convolution too.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import Tensor

from cohobate.models.cifar._chain import (
    Chain,
    ConvNormAct,
    PostActivation,
    PostActivationStage,
    conv_norm,
    create,
    default_cfg,
)

__all__ = ["ShuffleNetV1"]

GROUPS = 3


def shuffle(x: Tensor, groups: int) -> Tensor:
    """The channels of (B, C, H, W) dealt out so that every group gets some of every other."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class Bottleneck(PostActivation):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1 convolution, and the input.

    The input is added at stride 1; at stride 2 its 3x3 average is concatenated, so that the
    convolutions make only the channels that are new.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, first_groups: int):
        super().__init__()
        made = out_channels if stride == 1 else out_channels - in_channels
        width = made // 4
        self.stride = stride
        self.first_groups = first_groups
        self.conv1 = ConvNormAct(in_channels, width, 1, groups=first_groups)
        self.conv2 = ConvNormAct(width, width, 3, stride, groups=width)
        self.conv3 = conv_norm(width, made, 1, groups=GROUPS)

    def before_activation(self, x: Tensor) -> Tensor:
        y = shuffle(self.conv1(x), self.first_groups)
        y = self.conv3(self.conv2(y))
        if self.stride == 1:
            return y + x
        return torch.cat([y, F.avg_pool2d(x, 3, stride=2, padding=1)], 1)


def bottlenecks(
    in_channels: int, width: int, depth: int, stride: int, first_groups: int
) -> PostActivationStage:
    others = (Bottleneck(width, width, 1, GROUPS) for _ in range(depth - 1))
    return PostActivationStage(Bottleneck(in_channels, width, stride, first_groups), *others)


class ShuffleNetV1(Chain):
    """Stem (B, 24, H, W), then stages of width 240, 480, 960 at stride 2, 4, 8; three groups.

    The first convolution after the stem is not grouped.
    """

    def __init__(self, in_chans: int = 3, **head: Any):
        super().__init__(
            stem=ConvNormAct(in_chans, 24, 1),
            stages=[
                bottlenecks(24, 240, 4, 2, 1),
                bottlenecks(240, 480, 8, 2, GROUPS),
                bottlenecks(480, 960, 4, 2, GROUPS),
            ],
            widths=(240, 480, 960),
            strides=(2, 2, 2),
            again=partial(bottlenecks, 960, 960, 4, 1, GROUPS),
            **head,
        )


default_cfgs = generate_default_cfgs({"cifar_shufflenetv1": default_cfg()})


@register_model
def cifar_shufflenetv1(pretrained: bool = False, **kwargs) -> ShuffleNetV1:
    """ShuffleNet with three groups: widths 240, 480, 960."""
    return create(ShuffleNetV1, "cifar_shufflenetv1", pretrained, 3, **kwargs)
