"""The average of a network over the last part of its training."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cohobate.core import Batch


class SWA(nn.Module):
    """The plain mean of a network's weights at the ends of several epochs, in eval mode.

    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018,
    https://arxiv.org/abs/1803.05407, algorithm 1.
    """

    count: Tensor

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net: Any = deepcopy(net).requires_grad_(False).eval()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> "SWA":
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        return self.net(*args)

    @torch.no_grad()
    def follow(self, net: nn.Module, counts: bool) -> None:
        """Takes in the weights of `net`, and its running statistics with them.

        counts: whether they join the average. Until the first do, the last ones stand for it.
        """
        self.count += counts
        share = 1 / max(1, int(self.count))
        for mine, theirs in zip(self.net.state_dict().values(), net.state_dict().values()):
            if share < 1 and mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> None:
        """Sets the running statistics of batch norm to the means over `batches`, of plain images.

        Those of a mean of weights are not the mean of theirs. What is kept as it is keeps its own.
        """
        self.net.train()  # what a network keeps as it is stays in eval mode
        norms = [
            part
            for part in self.net.modules()
            if isinstance(part, _BatchNorm) and part.training and part.track_running_stats
        ]
        self.net.eval()
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # which makes of them plain means
            norm.train()
        for batch in batches:
            self.net(batch.images.flatten(0, -4))
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        self.net.eval()
