"""Auxiliary classifiers on every stage of a network, the last one too."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cohobate.models import Classifier, Tail
from cohobate.models.cifar import Chain
from cohobate.modules.branch import Branch
from cohobate.modules.taps import check_stages


class AuxiliaryHeads(nn.Module):
    """A classifier of `num_classes` on every stage of a network: its remaining stages once more.

    The last stage has none that remain: its head is one more copy of itself, at stride 1, for the
    `cifar_` networks and where it is a row of two blocks or more (timm's ResNets). For other last
    stages (RegNet, ConvNeXt, EfficientNet, DenseNet), and where a network is no chain of stages
    (transformers), generic branches of separable convolutions take the place; `note` says which.
    """

    def __init__(self, model: Classifier, num_classes: int):
        super().__init__()
        check_stages(model, 1)
        *shallow, last = model.stages
        tails = [*(model.tail(stage, num_classes) for stage in shallow), again(model, num_classes)]
        self.parts: Any = nn.ModuleList(
            tail if tail is not None else Branch(stage, last, num_classes)
            for stage, tail in zip(model.stages, tails)
        )
        kinds = {"copies of the remaining stages" if tail else "generic branches" for tail in tails}
        self.note = f"{len(tails)} auxiliary heads: {' and '.join(sorted(kinds))}"

    def __len__(self) -> int:
        return len(self.parts)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Logits, each (B, num_classes), float32, shallow to deep, of the maps of a trace."""
        traces = (
            part.trace(f) if isinstance(part, Tail) else part.trace(f, stages[-1])
            for part, f in zip(self.parts, stages)
        )
        return [trace.logits for trace in traces]


def again(model: Classifier, num_classes: int) -> Tail | None:
    """A new copy of the last stage on its own output, at stride 1, and of all that follows it."""
    last = model.stages[-1]
    tail = model.tail(last, num_classes)
    stage = None if tail is None else last_stage_again(model)
    if tail is None or stage is None:
        return None
    parent, _, name = last.module.rpartition(".")
    setattr(tail.net.get_submodule(parent), name, stage)
    return tail


def last_stage_again(model: Classifier) -> nn.Module | None:
    """The last stage of a network built anew, for its own output and at stride 1.

    The `cifar_` networks build it themselves; elsewhere it may be a row of blocks of which the
    second keeps the shape and can stand for the first. None where it is neither.
    """
    if isinstance(model.net, Chain):
        return model.net.last_stage_again()
    stage, other = (model.fresh().net.get_submodule(model.stages[-1].module) for _ in range(2))
    if not isinstance(stage, nn.Sequential) or len(stage) < 2:
        return None
    stage[0] = other[1]
    maps = torch.zeros(2, model.stages[-1].channels, 4, 4)
    try:
        with torch.no_grad():
            fits = stage.eval()(maps).shape == maps.shape
    except RuntimeError:
        return None
    return stage.train() if fits else None
