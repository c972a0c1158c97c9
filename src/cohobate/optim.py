"""How the parameters move: the optimiser, and a learning rate that is a pure function of the step."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import nn

from cohobate.core import Count, Positive, Weight
from cohobate.modules import EMA, SWA

Decay = Annotated[float, Ge(0), Lt(1)]
"""How much of an average stays from one step to the next: from 0 to below 1."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The [optim] table of a run.

    name: the optimiser.
    epochs: passes over the training set.
    lr: the highest learning rate; 0.1 for SGD, 0.001 for AdamW.
    backbone_lr: that of the network without its classifier, for fine-tuning; else `lr`.
    schedule: "cosine" down to zero; "poly" likewise, as (1 - t)^0.9, usual in segmentation; "step" by
        `gamma` at each of `milestones`; or "constant".
    milestones: epochs, counted from the start, warm-up included.
    warmup: epochs over which the rate rises linearly from zero; min(5, a tenth of the run).
    momentum, nesterov: of SGD.
    weight_decay: 5e-4 for SGD, 0.05 for AdamW (which leaves out biases and norms).
    clip: largest norm of the whole gradient; 0 does not clip.
    accumulate: batches whose gradients make up one step.
    ema: decay of a moving average of the weights, which is then what is evaluated and exported.
    swa: share of the epochs after which the plain mean of the weights at the end of every epoch is
        evaluated and exported; a rate that does not fall to zero suits it. After the last epoch the
        statistics of batch norm are measured over the training images, before they are means too.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    epochs: Count = 100
    lr: Positive | None = None
    backbone_lr: Positive | None = None
    schedule: Literal["cosine", "poly", "step", "constant"] = "cosine"
    milestones: tuple[Count, ...] = ()
    gamma: Positive = 0.1
    warmup: Weight | None = None
    momentum: Decay = 0.9
    nesterov: bool = True
    weight_decay: Weight | None = None
    clip: Weight = 5.0
    accumulate: Count = 1
    ema: Decay | None = None
    swa: Annotated[float, Ge(0), Lt(1)] | None = None

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012 - read by pydantic, no field

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from zero."""
        assert self.lr is not None and self.warmup is not None
        warm, all_steps = self.warmup * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + cos(pi * (step - warm) / (all_steps - warm)))
        if self.schedule == "poly":
            return self.lr * ((all_steps - step) / (all_steps - warm)) ** 0.9
        passed = sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
        return self.lr * self.gamma**passed if self.schedule == "step" else self.lr

    def average(self, net: nn.Module, device: torch.device) -> EMA | SWA | None:
        """The average of a network's weights, where one is kept."""
        if self.ema:
            return EMA(net, self.ema).to(device)
        return None if self.swa is None else SWA(net).to(device)

    def averages(self, epoch: int) -> bool:
        """Whether the weights at the end of an epoch, counted from zero, are part of `swa`."""
        return self.swa is not None and epoch >= min(self.swa * self.epochs, self.epochs - 1)

    def optimizer(
        self, method: nn.Module, backbone: Iterable[nn.Parameter]
    ) -> torch.optim.Optimizer:
        """The optimiser of all trainable parameters; each group's rate is `rate` × its `scale`.

        backbone: the parameters that learn at `backbone_lr`.
        """
        assert self.lr is not None and self.weight_decay is not None
        slow = {id(p) for p in backbone} if self.backbone_lr else set()
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for p in method.parameters():
            if p.requires_grad:
                decays = self.name == "sgd" or p.ndim > 1
                groups.setdefault((id(p) in slow, decays), []).append(p)
        rows = [
            {
                "params": parameters,
                "scale": (self.backbone_lr or self.lr) / self.lr if is_slow else 1.0,
                "weight_decay": self.weight_decay if decays else 0.0,
            }
            for (is_slow, decays), parameters in groups.items()
        ]
        if self.name == "adamw":
            return torch.optim.AdamW(rows, lr=self.lr, fused=True)
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(
            rows, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True
        )
