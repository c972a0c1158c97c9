"""Weights that rise while a network is trained."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cohobate.core import Progress


def warm_up(progress: Progress, epochs: float) -> Tensor:
    """What a weight is multiplied by that rises linearly over the first epochs: (e + 1) / W in epoch e.

    epochs: W, of which half of the run's epochs count at most, so that a short run comes to 1 too.
    """
    rise = max(1, min(epochs, progress.epochs / 2))
    return ((torch.as_tensor(progress.epoch) + 1) / rise).clamp(max=1)


@dataclass(frozen=True)
class Ramp:
    """What a weight is multiplied by: 0 up to an epoch, then exp(-5 (1 - t)²), 1 from another one on.

    start, end: those epochs, as shares of all. Raises ValueError where the rise never ends or begins.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if self.start >= 1:
            raise ValueError(
                f"ramp_start={self.start:g} is the end of the training, and the weights would stay"
                " zero: choose a share of the epochs below 1"
            )
        if self.end < self.start:
            raise ValueError(
                f"ramp_end={self.end:g} lies before ramp_start={self.start:g}: choose"
                f" ramp_end={self.start:g}, for no rise, or more, up to 1"
            )

    def __call__(self, progress: Progress) -> Tensor:
        first, last = round(self.start * progress.epochs), round(self.end * progress.epochs)
        passed = torch.as_tensor(progress.epoch) + 1 - first
        share = (passed / max(1, last - first)).clamp(0, 1)
        return torch.where(passed > 0, torch.exp(-5 * (1 - share) ** 2), 0.0)
