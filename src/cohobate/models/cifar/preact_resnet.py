"""Pre-activation ResNet for small images.

He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016,
https://arxiv.org/abs/1603.05027, as the self-distillation literature runs it: a 3x3 stem of stride
1 with BN - ReLU, shortcuts without BN, and no BN - ReLU between the last stage and the pooling.
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from cohobate.models.cifar._chain import (
    Chain,
    ConvNormAct,
    convolution,
    create,
    default_cfg,
    residual_stage,
    residual_stages,
)

__all__ = ["PreActResNet"]


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return convolution(in_channels, out_channels, 1, stride)


class PreActBlock(nn.Module):
    """Twice BN - ReLU - 3x3 convolution, added to the shortcut.

    A shortcut that changes the shape reads the activated input, any other the input itself.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width)
        self.shortcut = shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        y = self.conv1(active)
        y = self.conv2(F.relu(self.bn2(y)))
        return y + (x if self.shortcut is None else self.shortcut(active))


class PreActBottleneck(nn.Module):
    """BN - ReLU before each of a 1x1, a 3x3 and a 1x1 convolution, added to the shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        out_channels = width * self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = convolution(in_channels, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, out_channels, 1)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        y = self.conv1(active)
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (x if self.shortcut is None else self.shortcut(active))


class PreActResNet(Chain):
    """Stem (B, 64, H, W), then four stages of width 64, 128, 256, 512; each but the first halves the map.

    The taps are the raw sums, and so is what the head pools.
    """

    def __init__(
        self,
        block: type[PreActBlock] | type[PreActBottleneck],
        depths: tuple[int, ...],
        in_chans: int = 3,
        **head: Any,
    ):
        widths, strides = (64, 128, 256, 512), (1, 2, 2, 2)
        channels = [width * block.expansion for width in widths]
        last = (channels[-1], widths[-1], depths[-1], 1)
        super().__init__(
            stem=ConvNormAct(in_chans, 64),
            stages=residual_stages(nn.Sequential, block, 64, widths, depths, strides),
            widths=channels,
            strides=strides,
            again=partial(residual_stage, nn.Sequential, block, *last),
            **head,
        )


def _create(
    variant: str, pretrained: bool, block: Any, depths: tuple[int, ...], **kwargs
) -> PreActResNet:
    return create(PreActResNet, variant, pretrained, 4, block=block, depths=depths, **kwargs)


default_cfgs = generate_default_cfgs(
    {f"cifar_preact_resnet{depth}": default_cfg() for depth in (18, 34, 50)}
)


@register_model
def cifar_preact_resnet18(pretrained: bool = False, **kwargs) -> PreActResNet:
    """Pre-activation ResNet-18: widths 64, 128, 256, 512."""
    return _create("cifar_preact_resnet18", pretrained, PreActBlock, (2, 2, 2, 2), **kwargs)


@register_model
def cifar_preact_resnet34(pretrained: bool = False, **kwargs) -> PreActResNet:
    """Pre-activation ResNet-34: widths 64, 128, 256, 512."""
    return _create("cifar_preact_resnet34", pretrained, PreActBlock, (3, 4, 6, 3), **kwargs)


@register_model
def cifar_preact_resnet50(pretrained: bool = False, **kwargs) -> PreActResNet:
    """Pre-activation ResNet-50: widths 256, 512, 1024, 2048."""
    return _create("cifar_preact_resnet50", pretrained, PreActBottleneck, (3, 4, 6, 3), **kwargs)
