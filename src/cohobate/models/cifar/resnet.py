"""ResNet for small images.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
https://arxiv.org/abs/1512.03385. Thin networks of three stages (its section 4.2, with projection
shortcuts as in RepDistiller, https://arxiv.org/abs/1910.10699), and the ImageNet networks on a
3x3 stem of stride 1 without pooling.
"""

from functools import partial
from typing import Any

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
    residual_stage,
    residual_stages,
)

__all__ = ["ResNet"]


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return conv_norm(in_channels, out_channels, 1, stride)


class BasicBlock(PostActivation):
    """Two 3x3 convolutions, added to the shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, width, 3, stride)
        self.conv2 = conv_norm(width, width)
        self.shortcut = shortcut(in_channels, width, stride)

    def before_activation(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)) + self.shortcut(x)


class Bottleneck(PostActivation):
    """1x1, 3x3 and 1x1 convolutions, added to the shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = ConvNormAct(in_channels, width, 1)
        self.conv2 = ConvNormAct(width, width, 3, stride)
        self.conv3 = conv_norm(width, out_channels, 1)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def before_activation(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x)


class ResNet(Chain):
    """Stem (B, stem_width, H, W), then a stage per width; each but the first halves the map.

    depths: blocks of each stage.
    widths: of each stage; a bottleneck's output has four times as many channels.
    stem_act: end the stem in a ReLU. The released MixSKD code leaves it out.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        stem_width: int,
        stem_act: bool = True,
        in_chans: int = 3,
        **head: Any,
    ):
        stem = ConvNormAct if stem_act else conv_norm
        strides = (1, 2, 2, 2)[: len(widths)]
        channels = [width * block.expansion for width in widths]
        last = (channels[-1], widths[-1], depths[-1], 1)
        super().__init__(
            stem=stem(in_chans, stem_width),
            stages=residual_stages(PostActivationStage, block, stem_width, widths, depths, strides),
            widths=channels,
            strides=strides,
            again=partial(residual_stage, PostActivationStage, block, *last),
            **head,
        )


def _thin(variant: str, pretrained: bool, depth: int, factor: int = 1, **kwargs) -> ResNet:
    """Three stages of (depth - 2) / 6 basic blocks each, `factor` times as wide."""
    return create(
        ResNet,
        variant,
        pretrained,
        3,
        block=BasicBlock,
        depths=((depth - 2) // 6,) * 3,
        widths=(16 * factor, 32 * factor, 64 * factor),
        stem_width=16 if factor == 1 else 32,
        **kwargs,
    )


def _deep(variant: str, pretrained: bool, block: Any, depths: tuple[int, ...], **kwargs) -> ResNet:
    """The four stages of the ImageNet networks."""
    return create(
        ResNet,
        variant,
        pretrained,
        4,
        block=block,
        depths=depths,
        widths=(64, 128, 256, 512),
        stem_width=64,
        **kwargs,
    )


default_cfgs = generate_default_cfgs(
    {
        **{f"cifar_resnet{depth}": default_cfg(8) for depth in (8, 14, 20, 32, 44, 56, 110)},
        **{f"cifar_resnet{depth}x4": default_cfg(8) for depth in (8, 32)},
        **{f"cifar_resnet{depth}": default_cfg(4) for depth in (18, 34, 50)},
    }
)


@register_model
def cifar_resnet8(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-8 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet8", pretrained, 8, **kwargs)


@register_model
def cifar_resnet14(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-14 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet14", pretrained, 14, **kwargs)


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-20 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet20", pretrained, 20, **kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-32 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet32", pretrained, 32, **kwargs)


@register_model
def cifar_resnet44(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-44 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet44", pretrained, 44, **kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-56 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet56", pretrained, 56, **kwargs)


@register_model
def cifar_resnet110(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-110 for CIFAR: widths 16, 32, 64."""
    return _thin("cifar_resnet110", pretrained, 110, **kwargs)


@register_model
def cifar_resnet8x4(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-8 of four times the width: stem 32, widths 64, 128, 256."""
    return _thin("cifar_resnet8x4", pretrained, 8, factor=4, **kwargs)


@register_model
def cifar_resnet32x4(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-32 of four times the width: stem 32, widths 64, 128, 256."""
    return _thin("cifar_resnet32x4", pretrained, 32, factor=4, **kwargs)


@register_model
def cifar_resnet18(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-18 on a 3x3 stem of stride 1: widths 64, 128, 256, 512."""
    return _deep("cifar_resnet18", pretrained, BasicBlock, (2, 2, 2, 2), **kwargs)


@register_model
def cifar_resnet34(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-34 on a 3x3 stem of stride 1: widths 64, 128, 256, 512."""
    return _deep("cifar_resnet34", pretrained, BasicBlock, (3, 4, 6, 3), **kwargs)


@register_model
def cifar_resnet50(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-50 on a 3x3 stem of stride 1: widths 256, 512, 1024, 2048."""
    return _deep("cifar_resnet50", pretrained, Bottleneck, (3, 4, 6, 3), **kwargs)
