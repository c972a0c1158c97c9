"""A network that refines the maps of another's stages, top-down and bottom-up: FRSKD's self-teacher.

Ji et al., CVPR 2021, https://arxiv.org/abs/2103.08273, after EfficientDet's BiFPN
(Tan et al., CVPR 2020, https://arxiv.org/abs/1911.09070), with widths that grow with the stages'.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.models import Classifier, Trace


class BiFPN(nn.Module):
    """Maps (B, C_i, H_i, W_i), each half as high and wide as the one before, to (B, wC_i, H_i, W_i).

    channels: C_i, shallow to deep; two stages or more.
    width: w, channels of a level for each of its stage's.
    constant: channels of every level, in the place of wC_i; what goes up or down a level then
        needs no convolution.
    depth: separable 3 × 3 convolutions in each node.

    The refined maps T_i are not rectified. With L_i and L'_i two laterals of stage i of n, and ⊕ a
    weighted mean, P_n = L_n, P_i = node(L_i ⊕ up P_i+1); T_1 = P_1, T_i = node(L'_i ⊕ P_i ⊕ down
    T_i-1), T_n = node(L'_n ⊕ down T_n-1).
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        width: int = 2,
        depth: int = 2,
        constant: int | None = None,
    ):
        super().__init__()
        self.channels = list(channels)
        self.widths = widths = [constant or width * count for count in channels]
        steps = list(pairwise(widths))
        self.lateral: Any = nn.ModuleList(map(_pointwise, channels, widths))
        self.second_lateral: Any = nn.ModuleList(map(_pointwise, channels[1:], widths[1:]))
        fit = (lambda inside, outside: nn.Identity()) if constant else _pointwise
        self.up: Any = nn.ModuleList(fit(deep, shallow) for shallow, deep in steps)
        self.down: Any = nn.ModuleList(fit(shallow, deep) for shallow, deep in steps)
        self.top_down: Any = nn.ModuleList(Node(2, count, depth) for count in widths[:-1])
        self.bottom_up: Any = nn.ModuleList(Node(3, count, depth) for count in widths[1:-1])
        self.bottom_up.append(Node(2, widths[-1], depth))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [F.relu(features) for features in maps]
        laterals = [layer(features) for layer, features in zip(self.lateral, maps)]
        path = laterals[-1:]
        for lateral, up, node in zip(laterals[-2::-1], self.up[::-1], self.top_down[::-1]):
            size = (lateral.shape[-2], lateral.shape[-1])
            path.insert(0, node(lateral, up(F.interpolate(F.relu(path[0]), size))))
        refined = path[:1]
        for i, (node, down) in enumerate(zip(self.bottom_up, self.down), 1):
            middle = [F.relu(path[i])] if i < len(maps) - 1 else []
            lateral = self.second_lateral[i - 1](maps[i])
            refined.append(node(lateral, *middle, down(_halved(F.relu(refined[-1])))))
        return refined

    def norms(self) -> list[nn.BatchNorm2d]:
        """The batch norm that each refined map comes from."""
        return [node.layers[-1] for node in (self.top_down[0], *self.bottom_up)]


class Node(nn.Module):
    """The weighted mean of `count` maps (B, C, H, W), and separable convolutions of it, to the same shape.

    The weights are learned: rectified, and divided by their sum.
    """

    def __init__(self, count: int, channels: int, depth: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count))
        layers = [layer for _ in range(depth) for layer in _separable(channels)]
        self.layers = nn.Sequential(*layers[:-1])  # all but the last ReLU

    def forward(self, *maps: Tensor) -> Tensor:
        weight = F.relu(self.weight)
        weight = weight / (weight.sum() + 1e-6)
        terms = (share * features for share, features in zip(weight.unbind(), maps))
        return self.layers(reduce(torch.add, terms))


class PyramidTeacher(nn.Module):
    """A classifier on the refined maps of a model's stages.

    width, depth, constant: as in `BiFPN`.

    Gives a trace: logits (B, num_classes), the pooled last map (B, wC_n), and the refined maps,
    not rectified. Raises ValueError where the model's stages are no pyramid.
    """

    def __init__(
        self, model: Classifier, *, width: int = 2, depth: int = 2, constant: int | None = None
    ):
        super().__init__()
        _check_pyramid(model)
        channels = [stage.channels for stage in model.stages]
        self.bifpn = BiFPN(channels, width=width, depth=depth, constant=constant)
        self.classifier = nn.Linear(self.bifpn.widths[-1], model.num_classes)

    def forward(self, stages: Sequence[Tensor]) -> Trace:
        maps = self.bifpn(stages)
        embedding = F.relu(maps[-1]).mean((2, 3))
        return Trace(self.classifier(embedding).float(), embedding, maps)


def _pointwise(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


def _separable(channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def _halved(maps: Tensor) -> Tensor:
    """The maximum of 3 × 3 pixels at every second one: half the size, rounded up."""
    height, width = maps.shape[-2:]
    padding = (width % 2, 1, height % 2, 1)  # left, right, top, bottom
    return F.max_pool2d(F.pad(maps, padding), 3, 2)


@torch.no_grad()
def _check_pyramid(model: Classifier) -> None:
    images = torch.empty(2, 3, model.size, model.size, device="meta")
    maps = deepcopy(model).to("meta").eval().trace(images).stages
    sizes = [features.shape[-2:] for features in maps]
    halves = all(
        b == (a + 1) // 2 < a for above, below in pairwise(sizes) for a, b in zip(above, below)
    )
    if len(sizes) < 2 or not halves:
        listed = ", ".join(f"{height} × {width}" for height, width in sizes)
        raise ValueError(
            f"model {model.spec['arch']!r} has stages of {listed} for images of {model.size} pixels,"
            " and this method needs a pyramid, two stages or more of which each is half as high and"
            " wide as the one before: choose a convolutional network such as a ResNet, or larger"
            " images (data.size)"
        )
