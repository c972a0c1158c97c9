"""A forward pass with what was computed on the way, through timm's own protocol."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from cohobate.core import Batch, Losses


class Stage(NamedTuple):
    """One point at which a backbone is read."""

    tap: int
    """Position among timm's intermediates."""
    module: str
    """Name of the module within the network whose output this is."""
    channels: int
    stride: int
    """Pixels of the input per cell of the map; only ratios are exact for small-image stems."""


class Trace(NamedTuple):
    """A forward pass and its intermediate values.

    logits: (B, num_classes), float32.
    embedding: (B, D), the classifier's input; with dropout, a draw of its own.
    stages: one (B, C_i, H_i, W_i) per stage, shallow to deep.
    """

    logits: Tensor
    embedding: Tensor
    stages: list[Tensor]


class Model(Protocol):
    """What the engine and the methods may ask of a network, whatever its task."""

    num_classes: int
    stages: tuple[Stage, ...]
    compile_scope: str
    """The sub-module that can be compiled as one graph; "" where all of it, losses included, can."""
    asks: dict[str, Any]
    """What it wants of training batches besides, as options of its task's loader."""

    def __call__(self, images: Tensor) -> Tensor: ...
    def trace(self, images: Tensor) -> Trace: ...
    def losses(self, batch: Batch) -> Losses: ...


def read(net: Any, inputs: Tensor, stages: Sequence[Stage]) -> Trace:
    """The trace of a timm network on its normalised inputs (B, C, H, W)."""
    final, maps = net.forward_intermediates(inputs, indices=[stage.tap for stage in stages])
    embedding = net.forward_head(final, pre_logits=True).flatten(1)
    # The whole head once more: in some networks a norm, a dropout or a second classifier of its
    # own lies between the embedding and the logits.
    return Trace(net.forward_head(final).float(), embedding, maps)


def read_stages(net: Any, count: int = 4) -> tuple[Stage, ...]:
    """The stages of a timm network, shallow to deep; none where timm cannot tap it.

    A pyramid gives the last `count` of its resolutions, a network of one resolution (a
    transformer) `count` evenly spaced blocks.
    """
    info = getattr(net, "feature_info", None)
    if not info or not hasattr(net, "forward_intermediates"):
        return ()
    rows = info if isinstance(info, list) else info.info
    points = [Stage(i, f["module"], f["num_chs"], f["reduction"]) for i, f in enumerate(rows)]
    if points[0].stride == points[-1].stride:
        count = min(count, len(points))
        return tuple(points[(k + 1) * len(points) // count - 1] for k in range(count))
    return tuple({point.stride: point for point in points}.values())[-count:]
