"""What joins the maps of two networks, whatever their shapes: found out by a dry run of both."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
    mode, device = model.training, model.get_buffer("mean").device
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


class Connectors(nn.ModuleList):
    """What brings the maps of a student to those of a teacher that they meet, stage by stage.

    Which meet is said by `pairs`, of the maps that both networks make of images of `size` pixels.

    differing: in what a map has to differ from the teacher's to get a `Connector`; without it, all do.
    """

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        size: int,
        *,
        differing: Literal["shape", "channels"] | None = None,
    ):
        mine, theirs = shapes(student, size).maps, shapes(teacher, size).maps
        self.pairs = pairs(mine, theirs)
        met = [(mine[s], theirs[t]) for s, t in self.pairs]
        alike = {
            None: [False for _ in met],
            "shape": [a == b for a, b in met],
            "channels": [a.channels == b.channels for a, b in met],
        }[differing]
        super().__init__(
            nn.Identity() if fits else Connector(*pair) for fits, pair in zip(alike, met)
        )

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The student's maps that meet one, as they are brought to it; and those of the teacher's."""
        joined = [layer(student[s]) for layer, (s, _) in zip(self, self.pairs)]
        return joined, [teacher[t] for _, t in self.pairs]


class Embeddings(nn.Module):
    """Of the embeddings of a student and of its teacher, rows of one width, by a linear layer each.

    size: side of the images that both see, in pixels.
    """

    def __init__(self, student: Classifier, teacher: Classifier, size: int, width: int):
        super().__init__()
        self.student = nn.Linear(shapes(student, size).embedding, width)
        self.teacher = nn.Linear(shapes(teacher, size).embedding, width)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width) each, of embeddings (B, D_s) and (B, D_t)."""
        return self.student(student), self.teacher(teacher)


def _words(shape: Shape) -> str:
    return f"{shape.channels} × {shape.height} × {shape.width}"
