"""The losses of a run, followed on the device."""

from typing import Any

import torch
from torch import Tensor

from cohobate.core import Losses

NEVER = 2**62


class Watch:
    """The losses of an epoch so far on this process, kept on the device and looked at now and then.

    Holds the sum of each term, its very first value, and the first step at which it was not finite.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.names: list[str] = []
        self.reported: list[str] = []
        self.sums = self.first = self.bad = torch.empty(0)
        self.count = 0

    def add(self, losses: Losses, step: int) -> None:
        values = torch.stack([value.detach().float() for value in losses.values()])
        if not self.names:
            self.names, self.first = list(losses), values
            self.sums = torch.zeros_like(values, dtype=torch.float64)
            self.bad = torch.full_like(values, NEVER, dtype=torch.int64)
        self.sums += values
        self.bad = torch.where(values.isfinite(), self.bad, self.bad.clamp_max(step))
        self.count += 1

    def means(self) -> dict[str, float]:
        """The mean of each term over the epoch so far; waits for the device."""
        return dict(zip(self.names, (self.sums / max(1, self.count)).tolist()))

    def trouble(self) -> str | None:
        """The first step at which a term was not finite, and its name; waits for the device."""
        steps = self.bad.tolist()
        at = min(steps, default=NEVER)
        return None if at == NEVER else f"loss term {self.names[steps.index(at)]!r} of step {at}"

    def grown(self) -> dict[str, float]:
        """Terms that newly outgrew their first value tenfold, and all first values together."""
        first = dict(zip(self.names, self.first.abs().tolist()))
        bar = sum(first.values())
        ratios = {n: m / max(first[n], 1e-8) for n, m in self.means().items() if m > bar}
        new = {n: ratio for n, ratio in ratios.items() if ratio > 10 and n not in self.reported}
        self.reported += list(new)
        return new

    def next_epoch(self) -> None:
        self.sums, self.count = torch.zeros_like(self.sums), 0

    def state(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "device"}

    def load(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value.to(self.device) if isinstance(value, Tensor) else value)
