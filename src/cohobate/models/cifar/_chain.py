"""What the CIFAR networks share: a plain chain of stem, stages and head under timm's interface."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.nn.functional as F
from timm.layers.classifier import ClassifierHead
from timm.models import build_model_with_cfg
from timm.models._features import feature_take_indices
from torch import Tensor, nn


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A convolution that keeps the size of a map (but for `stride`); without bias by default."""
    return nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias
    )


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution - BN."""
    conv = convolution(in_channels, out_channels, kernel, stride, groups)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))


class PostActivation(nn.Module, ABC):
    """A module that ends in a ReLU, and that can stop short of it."""

    @abstractmethod
    def before_activation(self, x: Tensor) -> Tensor:
        """The output before its last ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(self.before_activation(input))


class ConvNormAct(PostActivation):
    """Convolution - BN - ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel, stride, groups, bias)
        self.bn = nn.BatchNorm2d(out_channels)

    def before_activation(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class PostActivationStage(PostActivation, nn.Sequential):
    """Modules in a row, of which the last ends in a ReLU."""

    def before_activation(self, x: Tensor) -> Tensor:
        *blocks, last = self
        assert isinstance(last, PostActivation)
        for block in blocks:
            x = block(x)
        return last.before_activation(x)


class Chain(nn.Module):
    """A network whose children are applied one after the other: stem, layer1, layer2, …, final.

    stem: maps images (B, in_chans, H, W) to the first stage's input.
    stages: become `layer1`, `layer2`, …; each output is a tap.
    widths: channels C_i of each stage's output.
    strides: of each stage, counting the stem's with the first.
    final: what follows the last stage, such as the BN - ReLU of a pre-activation network.
    num_features: channels D that reach the classifier; the last width where left out.
    again: builds the last stage once more, on its own output and at stride 1.
    drop_rate: dropout before the classifier.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        widths: Sequence[int],
        strides: Sequence[int],
        final: nn.Module | None = None,
        num_features: int | None = None,
        *,
        again: Callable[[], nn.Module],
        num_classes: int = 100,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ):
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = num_features or widths[-1]
        self.drop_rate = drop_rate
        self.feature_info: list[dict[str, Any]] = []
        self.stem = stem
        reduction = 1
        for i, stage in enumerate(stages):
            name = f"layer{i + 1}"
            reduction *= strides[i]
            self.add_module(name, stage)
            self.feature_info.append({"num_chs": widths[i], "reduction": reduction, "module": name})
        self.final = final or nn.Identity()
        self.head = ClassifierHead(self.num_features, num_classes, global_pool, drop_rate)
        self._again = again
        _initialise(self)

    def last_stage_again(self) -> nn.Module:
        """A new copy of the last stage that takes its output and keeps the size of the map."""
        stage = self._again()
        _initialise(stage)
        return stage

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        pre_activation: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The features (B, D, h, w) and the maps (B, C_i, H_i, W_i) of the stages.

        indices: which stages; the last n for an int, all for None.
        norm: apply a final norm layer to the last stage's map.
        stop_early: skip what lies behind the last stage asked for.
        intermediates_only: the maps alone.
        pre_activation: each map before the stage's last ReLU; the same map where a stage does
            not end in one.
        """
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        taps, last = feature_take_indices(len(self.feature_info), indices)
        stages = [getattr(self, info["module"]) for info in self.feature_info]
        run = stages[: last + 1] if stop_early else stages
        maps = []
        x = self.stem(x)
        for i, stage in enumerate(run):
            if pre_activation and isinstance(stage, PostActivation):
                tap = stage.before_activation(x)
                x = F.relu(tap)
            else:
                tap = x = stage(x)
            if i in taps:
                maps.append(tap)
        whole = len(run) == len(stages)
        if norm and whole and last == len(stages) - 1 and isinstance(self.final, nn.BatchNorm2d):
            maps[-1] = self.final(maps[-1])
        if intermediates_only:
            return maps
        return (self.final(x) if whole else x), maps

    def forward_features(self, x: Tensor) -> Tensor:
        """The map (B, D, h, w) that the head pools."""
        x = self.stem(x)
        for info in self.feature_info:
            x = getattr(self, info["module"])(x)
        return self.final(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes), or the classifier's input (B, D), of the features."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def residual_stages(
    container: type[nn.Sequential],
    block: Any,
    in_channels: int,
    widths: Sequence[int],
    depths: Sequence[int],
    strides: Sequence[int],
) -> list[nn.Module]:
    """A `residual_stage` for each width, one after the other."""
    inputs = [in_channels, *(width * block.expansion for width in widths[:-1])]
    rows = zip(inputs, widths, depths, strides, strict=True)
    return [residual_stage(container, block, *row) for row in rows]


def residual_stage(
    container: type[nn.Sequential],
    block: Any,
    in_channels: int,
    width: int,
    depth: int,
    stride: int,
) -> nn.Module:
    """So many `block(in_channels, width, stride)`, of which the first has the stage's stride."""
    others = (block(width * block.expansion, width, 1) for _ in range(depth - 1))
    return container(block(in_channels, width, stride), *others)


Net = TypeVar("Net", bound=Chain)


def create(network: type[Net], variant: str, pretrained: bool, taps: int, /, **options: Any) -> Net:
    """`network(**options)` as timm builds it, with so many `taps` where `features_only` is asked."""
    feature_cfg = {"out_indices": tuple(range(taps))}
    return build_model_with_cfg(network, variant, pretrained, feature_cfg=feature_cfg, **options)


def default_cfg(pool_size: int = 4, first_conv: str = "stem.conv") -> dict[str, Any]:
    """timm's description of a network: CIFAR-100's images, and no weights."""
    return {
        "num_classes": 100,
        "input_size": (3, 32, 32),
        "pool_size": (pool_size, pool_size),
        "crop_pct": 1.0,
        "mean": (0.5071, 0.4867, 0.4408),
        "std": (0.2675, 0.2565, 0.2761),
        "first_conv": first_conv,
        "classifier": "head.fc",
    }
