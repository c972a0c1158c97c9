"""Any timm pyramid with torchvision's top-down path on it: levels of one width, fine to coarse."""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from cohobate.models.classifier import Classifier
from cohobate.models.trace import Stage

LEVELS = 5
"""As many levels as detectors look at, where the network has enough stages."""


class Pyramid(nn.Module):
    """Levels (B, width, H_i, W_i) of raw images in [0, 1], each half as large as the one before.

    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017,
    https://arxiv.org/abs/1612.03144.

    encoder: a network whose stages are a pyramid; its classifier is taken away.
    finest: the least stride of a level, in pixels; where all stages are finer, the last is taken.

    Above the last stage comes one more level, subsampled, on four stages, as in the paper; on fewer,
    two by strided convolutions, as RetinaNet has them.
    """

    def __init__(self, encoder: Classifier, width: int, finest: int):
        super().__init__()
        behead(encoder.net, encoder.stages)
        self.encoder = encoder
        used = [stage for stage in encoder.stages if stage.stride >= finest]
        used = used or [encoder.stages[-1]]
        self.stages = len(used)
        few = self.stages < LEVELS - 1
        extra = LastLevelP6P7(width, width) if few else LastLevelMaxPool()
        self.fpn: Any = FeaturePyramidNetwork([stage.channels for stage in used], width, extra)
        strides = [stage.stride for stage in used]
        self.strides = [*strides, *(strides[-1] * factor for factor in ((2, 4) if few else (2,)))]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The levels of images (B, 3, H, W)."""
        maps = features(self.encoder, images)[-self.stages :]
        return list(self.fpn(OrderedDict(enumerate(maps))).values())


def features(encoder: Classifier, images: Tensor) -> list[Tensor]:
    """The map of every stage, shallow to deep; images are padded to whole cells of the last."""
    inputs, stages = encoder.normalise(images), encoder.stages
    cell = stages[-1].stride
    high, wide = (-side % cell for side in images.shape[-2:])
    if high or wide:
        inputs = F.pad(inputs, (0, wide, 0, high))
    taps = [stage.tap for stage in stages]
    return encoder.net.forward_intermediates(inputs, indices=taps, intermediates_only=True)


def behead(net: Any, stages: tuple[Stage, ...]) -> None:
    """Takes away what follows the last stage: it would be trained by nothing."""
    if hasattr(net, "prune_intermediate_layers"):
        taps = [stage.tap for stage in stages]
        net.prune_intermediate_layers(taps, prune_norm=True, prune_head=True)
    else:
        net.reset_classifier(0)


def check_pyramid(arch: str, stages: tuple[Stage, ...]) -> None:
    """Raises ValueError where the stages are not one resolution after another."""
    if len(stages) < 2 or any(deep.stride <= shallow.stride for shallow, deep in pairwise(stages)):
        strides = ", ".join(str(stage.stride) for stage in stages) or "none"
        raise ValueError(
            f"model {arch!r} is no pyramid (strides of its stages: {strides}), and a decoder stands on"
            " maps of falling resolution: choose a convolutional network, such as resnet18, or a"
            " hierarchical transformer, such as swin_tiny_patch4_window7_224"
        )
