"""What joins the maps of two networks, whatever their shapes: found out by a dry run of both."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.models import Classifier, Trace


class Shape(NamedTuple):
    """Of a map, without the batch."""

    channels: int
    height: int
    width: int


class Shapes(NamedTuple):
    """What a network gives of one image: numbers of its embedding, and the map of each stage."""

    embedding: int
    maps: list[Shape]


@torch.no_grad()
def shapes(model: Classifier, size: int) -> Shapes:
    """What a network gives of an image of `size` pixels, by a dry run.

    Raises ValueError where timm cannot tap the network.
    """
    mode, device = model.training, next(model.parameters()).device
    trace: Trace = model.eval().trace(torch.zeros(1, 3, size, size, device=device))
    model.train(mode)
    return Shapes(trace.embedding.shape[1], [Shape(*f.shape[1:]) for f in trace.stages])


def pairs(student: Sequence[object], teacher: Sequence[object]) -> list[tuple[int, int]]:
    """Which stage of a student meets which of a teacher, shallow to deep; the last meets the last.

    Where one network has more stages, evenly spaced ones of them take part.
    """
    count = min(len(student), len(teacher))
    return [
        ((k + 1) * len(student) // count - 1, (k + 1) * len(teacher) // count - 1)
        for k in range(count)
    ]


def resized(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, ...) at another height and width: averaged where that is less, else bilinear."""
    if maps.shape[-2:] == (height, width):
        return maps
    if height <= maps.shape[-2] and width <= maps.shape[-1]:
        return F.adaptive_avg_pool2d(maps, (height, width))
    return F.interpolate(maps, size=(height, width), mode="bilinear")


class Connector(nn.Module):
    """A student's map in the shape of a teacher's: a 1×1 convolution, batch norm, and resizing.

    source, target: the shapes; the channels of the first become those of the second.
    rectified: whether a ReLU follows.
    """

    def __init__(self, source: Shape, target: Shape, *, rectified: bool = False):
        super().__init__()
        self.target = target
        convolution = nn.Conv2d(source.channels, target.channels, 1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        norm = nn.BatchNorm2d(target.channels)
        self.layers = nn.Sequential(convolution, norm, *([nn.ReLU()] if rectified else []))
        self.joins = f"{_words(source)} → {_words(target)}"

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C_s, H_s, W_s) to (B, C_t, H_t, W_t), resized before the convolution where that is less."""
        _, height, width = self.target
        if height * width < maps.shape[-2] * maps.shape[-1]:
            return self.layers(resized(maps, height, width))
        return resized(self.layers(maps), height, width)


def _words(shape: Shape) -> str:
    return f"{shape.channels} × {shape.height} × {shape.width}"
