"""Any timm pyramid with torchvision's top-down path on it: levels of one width, fine to coarse."""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from cohobate.models.classifier import Classifier, fixed_size, options_of
from cohobate.models.trace import Stage

LEVELS = 5
"""As many levels as detectors look at, where the network has enough stages."""
PADDED = "strict_img_size"
"""The option of timm's Swin Transformers that, taken away, pads images to whole windows."""
CHOICES = (
    "a convolutional network, such as resnet18, or a hierarchical transformer, such as"
    " swin_tiny_patch4_window7_224"
)


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


def pyramid_encoder(arch: str, num_classes: int, **options: Any) -> Classifier:
    """A network whose stages are a pyramid, and which takes images of any shape.

    options: as for `Classifier`; windows of a Swin Transformer are padded to fit, as timm offers it.
    Raises ValueError as `Classifier` does, and for another network.
    """
    if fixed_size(arch) and PADDED in options_of(arch):
        options = {PADDED: False, **options}
    encoder = Classifier(arch, num_classes, **options)
    _check_pyramid(arch, encoder.stages)
    if encoder.net.pretrained_cfg.get("fixed_input_size") and not _takes_any_shape(encoder):
        raise ValueError(
            f"model {arch!r} takes images of one size alone, and these are as wide or high as they come:"
            f" choose {CHOICES}"
        )
    return encoder


def _takes_any_shape(encoder: Classifier) -> bool:
    """Whether images may be oblong, tried on the meta device: nothing is computed."""
    with torch.device("meta"):
        twin = Classifier(num_classes=encoder.num_classes, **encoder.spec).eval()
        images = torch.empty(1, 3, twin.size, twin.size + twin.stages[-1].stride)
        try:
            features(twin, images)
        except (RuntimeError, ValueError, AssertionError):
            return False
    return True


def _check_pyramid(arch: str, stages: tuple[Stage, ...]) -> None:
    """Raises ValueError where the stages are not one resolution after another."""
    if len(stages) < 2 or any(deep.stride <= shallow.stride for shallow, deep in pairwise(stages)):
        strides = ", ".join(str(stage.stride) for stage in stages) or "none"
        raise ValueError(
            f"model {arch!r} is no pyramid (strides of its stages: {strides}), and a decoder stands on"
            f" maps of falling resolution: choose {CHOICES}"
        )
