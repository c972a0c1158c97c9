"""MobileNetV2 of half the width for small images.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
https://arxiv.org/abs/1801.04381. Two stems are in use: of stride 2 in RepDistiller
(https://arxiv.org/abs/1910.10699), of stride 1 in HSAKD (https://arxiv.org/abs/2107.13715).
Their accuracies are not comparable.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from cohobate.models.cifar._chain import Chain, ConvNormAct, conv_norm, create, default_cfg

__all__ = ["MobileNetV2"]

ROWS = (
    # expansion, width, blocks, stride
    ((1, 8, 1, 1), (6, 12, 2, 1)),
    ((6, 16, 3, 2),),
    ((6, 32, 4, 2), (6, 48, 3, 1)),
    ((6, 80, 3, 2), (6, 160, 1, 1)),
)


class InvertedResidual(nn.Module):
    """1x1 convolution to `expansion` times the channels, depthwise 3x3, linear 1x1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int):
        super().__init__()
        width = in_channels * expansion
        self.expand = ConvNormAct(in_channels, width, 1)
        self.depthwise = ConvNormAct(width, width, 3, stride, groups=width)
        self.project = conv_norm(width, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def residuals(in_channels: int, rows: Iterable[tuple[int, int, int, int]]) -> nn.Sequential:
    """Blocks of each row (expansion, width, blocks, stride); its first block has the stride."""
    blocks = []
    for expansion, width, depth, stride in rows:
        for i in range(depth):
            blocks.append(InvertedResidual(in_channels, width, stride if i == 0 else 1, expansion))
            in_channels = width
    return nn.Sequential(*blocks)


class MobileNetV2(Chain):
    """Stem of 16 channels, inverted residuals of width 8 to 160, a 1x1 convolution to 1280.

    stem_stride: 2 in RepDistiller, 1 in HSAKD.

    The published seven groups of blocks form four stages, taps (B, 12, 32, 32), (B, 16, 16, 16),
    (B, 48, 8, 8), (B, 160, 4, 4) on 32 px with a stem of stride 1. They are linear: no ReLU ends them.
    """

    def __init__(self, stem_stride: int, in_chans: int = 3, **head: Any):
        widths = (12, 16, 48, 160)
        same_size = tuple((t, c, n, 1) for t, c, n, _ in ROWS[-1])
        super().__init__(
            stem=ConvNormAct(in_chans, 16, 3, stem_stride),
            stages=[residuals(channels, rows) for channels, rows in zip((16, *widths), ROWS)],
            widths=widths,
            strides=(stem_stride, 2, 2, 2),
            final=ConvNormAct(160, 1280, 1),
            num_features=1280,
            again=partial(residuals, 160, same_size),
            **head,
        )


default_cfgs = generate_default_cfgs(
    {"cifar_mobilenetv2": default_cfg(2), "cifar_mobilenetv2_hsakd": default_cfg(4)}
)


@register_model
def cifar_mobilenetv2(pretrained: bool = False, **kwargs) -> MobileNetV2:
    """MobileNetV2 x0.5 of RepDistiller: a stem of stride 2."""
    return create(MobileNetV2, "cifar_mobilenetv2", pretrained, 4, stem_stride=2, **kwargs)


@register_model
def cifar_mobilenetv2_hsakd(pretrained: bool = False, **kwargs) -> MobileNetV2:
    """MobileNetV2 x0.5 of HSAKD: a stem of stride 1, on maps twice as wide."""
    return create(MobileNetV2, "cifar_mobilenetv2_hsakd", pretrained, 4, stem_stride=1, **kwargs)
