"""What makes one map of a pyramid's maps; most of it from segmentation-models-pytorch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch.nn.functional as F
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn

from cohobate.models.trace import Stage


class FPN(nn.Module):
    """Four levels, summed at the size of the finest.

    Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, https://arxiv.org/abs/1901.02446.
    """

    wants: ClassVar[dict[str, Any]] = {}

    def __init__(self, arch: str, stages: Sequence[Stage], width: int | None):
        super().__init__()
        self.channels = _multiple(width or 128, 32)
        strides = [stage.stride for stage in stages]
        if len(stages) != 4 or any(2 * fine != coarse for fine, coarse in pairwise(strides)):
            raise ValueError(
                f'model.decoder="fpn" needs four stages, each half as large as the one before, and'
                f" {arch!r} has strides {', '.join(map(str, strides))}: choose"
                ' model.decoder="upernet", which takes any pyramid'
            )
        channels = [stage.channels for stage in stages]
        self.layers = FPNDecoder(channels, len(channels), 2 * self.channels, self.channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.layers(maps)


class UPerNet(nn.Module):
    """Pooled context on the deepest map, and a pyramid of any number of levels.

    Xiao et al., "Unified Perceptual Parsing", ECCV 2018, https://arxiv.org/abs/1807.10221.
    """

    wants: ClassVar[dict[str, Any]] = {}

    def __init__(self, arch: str, stages: Sequence[Stage], width: int | None):
        super().__init__()
        self.channels = width or 256
        channels = [0, 0, *(stage.channels for stage in stages)]  # of 1/1 and 1/2, which it skips
        self.layers = UPerNetDecoder(channels, len(stages), self.channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.layers([*maps[:1], *maps[:1], *maps])


class PSPNet(nn.Module):
    """Context pooled at four scales on the deepest map.

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, https://arxiv.org/abs/1612.01105. There
    the network is dilated to a stride of 8: `model.output_stride=8`, where timm's network takes it.
    """

    wants: ClassVar[dict[str, Any]] = {}

    def __init__(self, arch: str, stages: Sequence[Stage], width: int | None):
        super().__init__()
        self.channels = width or 512
        self.layers = PSPDecoder([stages[-1].channels], out_channels=self.channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.layers(maps[-1:])


class DeepLabV3Plus(nn.Module):
    """Context at several dilations, refined by a map of four times the resolution.

    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018, https://arxiv.org/abs/1802.02611; the network has a stride of 16.
    """

    wants: ClassVar[dict[str, Any]] = {"output_stride": 16}

    def __init__(self, arch: str, stages: Sequence[Stage], width: int | None):
        super().__init__()
        self.channels = width or 256
        last = stages[-1]
        fine = [place for place, stage in enumerate(stages) if 4 * stage.stride == last.stride]
        if not fine:
            raise ValueError(
                f'model.decoder="deeplabv3plus" needs a stage of four times the last one\'s'
                f' resolution, and {arch!r} has none: choose model.decoder="upernet"'
            )
        self.fine = fine[0]
        channels = [0, 0, stages[self.fine].channels, last.channels]
        self.layers = DeepLabV3PlusDecoder(
            channels,
            encoder_depth=5,
            out_channels=self.channels,
            atrous_rates=(12, 24, 36),
            output_stride=16,
            aspp_separable=True,
            aspp_dropout=0.5,
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        fine = maps[self.fine]
        return self.layers([fine, fine, fine, maps[-1]])


class BiFPN(nn.Module):
    """FRSKD's own: six levels that exchange what they know three times, each channel by itself.

    Ji et al., CVPR 2021, https://arxiv.org/abs/2103.08273, as its released code has it: laterals of
    1 × 1 convolutions, two more levels by strided ones, a top-down path, then three layers, each
    top-down and bottom-up. The finest level is what is classified, after a 3 × 3 convolution to 256
    channels; the last layer's way up does not reach it, and is a part of the method that wants it.
    """

    wants: ClassVar[dict[str, Any]] = {}

    def __init__(self, arch: str, stages: Sequence[Stage], width: int | None):
        super().__init__()
        self.width = width = width or 64
        self.levels = len(stages) + 2
        deepest = stages[-1].channels
        self.sixth = _convolution(deepest, deepest, 3, 2)
        self.seventh = _convolution(deepest, deepest, 3, 2)
        inside = [stage.channels for stage in stages] + 2 * [deepest]
        self.lateral: Any = nn.ModuleList(_convolution(count, width, 1) for count in inside)
        self.down: Any = nn.ModuleList(Descent(width, self.levels) for _ in range(3))
        self.up: Any = nn.ModuleList(Ascent(width, self.levels) for _ in range(2))
        self.last = _convolution(width, HEAD, 3)
        self.channels = HEAD

    def forward(self, maps: list[Tensor]) -> Tensor:
        _, path = self.pyramid(maps)
        return self.last(path[0])

    def pyramid(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Levels (B, width, H_i, W_i), fine to coarse, two more than there are stages: what the last
        layer begins with, and what its way down makes of it."""
        sixth = self.sixth(maps[-1])
        whole = [*maps, sixth, self.seventh(sixth)]
        levels = [lateral(level) for lateral, level in zip(self.lateral, whole)]
        for place in reversed(range(len(levels) - 1)):
            levels[place] = levels[place] + _like(levels[place + 1], levels[place])
        for down, up in zip(self.down, self.up):
            levels = up(levels, down(levels))
        return levels, self.down[-1](levels)


class Descent(nn.Module):
    """The top-down half of a layer of FRSKD's pyramid: levels (B, C, H_i, W_i) to the same shapes.

    Sums are unweighted, and each node scales and shifts its channels and rectifies.
    """

    def __init__(self, width: int, levels: int):
        super().__init__()
        self.nodes: Any = nn.ModuleList(_node(width) for _ in range(levels - 1))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        path = [*levels]
        for place in reversed(range(len(levels) - 1)):
            path[place] = self.nodes[place](levels[place] + _like(path[place + 1], levels[place]))
        return path


class Ascent(nn.Module):
    """The bottom-up half: of the levels that a layer began with, and what its way down made of them."""

    def __init__(self, width: int, levels: int):
        super().__init__()
        self.nodes: Any = nn.ModuleList(_node(width) for _ in range(levels - 1))

    def forward(self, levels: list[Tensor], path: list[Tensor]) -> list[Tensor]:
        refined = path[:1]
        for place, node in enumerate(self.nodes, start=1):
            terms = levels[place] + F.interpolate(refined[-1], size=_size(levels[place]))
            if place + 1 < len(levels):
                terms = terms + path[place]
            refined.append(node(terms))
        return refined


class RefinedHead(nn.Module):
    """FRSKD's self-teacher for pixels: two more layers on the network's pyramid, the second top-down.

    Takes what `BiFPN.pyramid` gives. Gives the network's own levels, the refined ones, and the map
    (B, 256, H_1, W_1) to be classified.
    """

    def __init__(self, decoder: BiFPN):
        super().__init__()
        shape = decoder.width, decoder.levels
        self.own, self.up = Ascent(*shape), Ascent(*shape)
        self.down: Any = nn.ModuleList(Descent(*shape) for _ in range(2))
        self.last = _convolution(decoder.width, HEAD, 3)

    def forward(
        self, levels: list[Tensor], path: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        own = self.own(levels, path)
        first, second = self.down
        refined = second(self.up(own, first(own)))
        return own, refined, self.last(refined[0])


HEAD = 256
"""Channels of what FRSKD's network classifies."""
DECODERS: dict[str, Any] = {
    "fpn": FPN,
    "upernet": UPerNet,
    "deeplabv3plus": DeepLabV3Plus,
    "pspnet": PSPNet,
    "bifpn": BiFPN,
}
"""The decoders by name."""


def _convolution(inside: int, outside: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


def _node(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


def _like(maps: Tensor, other: Tensor) -> Tensor:
    """Maps at the size of another one, bilinear."""
    return F.interpolate(maps, size=_size(other), mode="bilinear")


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def _multiple(width: int, of: int) -> int:
    """The width. Raises ValueError where it is no multiple."""
    if width % of:
        raise ValueError(
            f"model.width={width} should be a multiple of {of}, the groups of its norm"
        )
    return width
