"""From one stage to the shape of the last, for networks that are no chain of stages."""

from math import log2

import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.models import Stage, Trace


class Branch(nn.Module):
    """Separable convolutions from a stage's map to the shape of the last, with a classifier.

    Takes (B, C_s, H_s, W_s); gives a trace of one stage, shaped (B, C_t, H_t, W_t).
    """

    def __init__(self, source: Stage, last: Stage, num_classes: int):
        super().__init__()
        halvings = max(0, round(log2(last.stride / source.stride)))
        widths = [source.channels] + [last.channels] * max(1, halvings)
        strides = [2] * halvings or [1]
        layers = (_separable(a, b, s) for a, b, s in zip(widths, widths[1:], strides))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(last.channels, num_classes)

    def trace(self, features: Tensor, like: Tensor) -> Trace:
        """`like`: a map of the last stage, whose height and width the branch's map gets."""
        maps = self.layers(features)
        if maps.shape[-2:] != like.shape[-2:]:
            maps = F.adaptive_avg_pool2d(maps, (like.shape[-2], like.shape[-1]))
        embedding = maps.mean((2, 3))
        return Trace(self.classifier(embedding).float(), embedding, [maps])


def _separable(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
        nn.Conv2d(inside, outside, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )
