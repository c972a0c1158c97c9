"""Wide residual networks.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, https://arxiv.org/abs/1605.07146.
"""

from functools import partial
from typing import Any

from timm.layers.norm_act import BatchNormAct2d
from timm.models import generate_default_cfgs, register_model
from torch import nn

from cohobate.models.cifar._chain import (
    Chain,
    convolution,
    create,
    default_cfg,
    residual_stage,
    residual_stages,
)
from cohobate.models.cifar.preact_resnet import PreActBlock

__all__ = ["WideResNet"]


class WideResNet(Chain):
    """Stem (B, 16, H, W), three stages of width 16k, 32k, 64k at stride 1, 2, 4, then BN - ReLU.

    depth: (depth - 4) / 6 pre-activation blocks in each stage.
    width: the factor k.

    The taps are the raw sums, before the next stage's BN - ReLU.
    """

    def __init__(self, depth: int, width: int, in_chans: int = 3, **head: Any):
        widths, strides = (16 * width, 32 * width, 64 * width), (1, 2, 2)
        depths = ((depth - 4) // 6,) * 3
        last = (widths[-1], widths[-1], depths[-1], 1)
        super().__init__(
            stem=convolution(in_chans, 16),
            stages=residual_stages(nn.Sequential, PreActBlock, 16, widths, depths, strides),
            widths=widths,
            strides=strides,
            final=BatchNormAct2d(widths[-1]),
            again=partial(residual_stage, nn.Sequential, PreActBlock, *last),
            **head,
        )


def _create(pretrained: bool, depth: int, width: int, **kwargs) -> WideResNet:
    variant = f"cifar_wrn_{depth}_{width}"
    return create(WideResNet, variant, pretrained, 3, depth=depth, width=width, **kwargs)


default_cfgs = generate_default_cfgs(
    {
        f"cifar_wrn_{shape}": default_cfg(8, first_conv="stem")
        for shape in ("16_1", "16_2", "40_1", "40_2", "28_10")
    }
)


@register_model
def cifar_wrn_16_1(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-16-1: widths 16, 32, 64."""
    return _create(pretrained, 16, 1, **kwargs)


@register_model
def cifar_wrn_16_2(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-16-2: widths 32, 64, 128."""
    return _create(pretrained, 16, 2, **kwargs)


@register_model
def cifar_wrn_40_1(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-40-1: widths 16, 32, 64."""
    return _create(pretrained, 40, 1, **kwargs)


@register_model
def cifar_wrn_40_2(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-40-2: widths 32, 64, 128."""
    return _create(pretrained, 40, 2, **kwargs)


@register_model
def cifar_wrn_28_10(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-28-10: widths 160, 320, 640."""
    return _create(pretrained, 28, 10, **kwargs)
