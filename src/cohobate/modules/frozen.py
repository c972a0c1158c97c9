"""Networks that predict and are not trained."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from cohobate.core import Batch


class Frozen(nn.Module):
    """A network that only predicts: in eval mode, without gradients, the same from first to last.

    A run stores its frozen networks once, not in every checkpoint.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net: Any = net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        return self.net(*args)

    @torch.no_grad()
    def trace(self, *args: Any) -> Any:
        return self.net.trace(*args)

    def of(self, batch: Batch, images: Tensor) -> Tensor:
        """Its logits (B, C) of a batch, up to a constant in each row: recalled, where they are known.

        images: `batch.inputs`, which the caller has made already.
        """
        return self(images) if batch.taught is None else batch.taught


class EMA(nn.Module):
    """A moving average of another network's weights and buffers, in eval mode, without gradients."""

    def __init__(self, net: nn.Module, decay: float):
        super().__init__()
        self.net: Any = deepcopy(net).requires_grad_(False).eval()
        self.decay = decay

    def train(self, mode: bool = True) -> "EMA":
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        return self.net(*args)

    @torch.no_grad()
    def follow(self, net: nn.Module, step: Tensor | int | None = None) -> None:
        """Moves every weight by 1 - decay towards that of `net`; counters are copied.

        step: how many were made before; the decay is then 1 - 1 / (step + 1) at most, and the
            average forgets the weights that it began with.
        """
        mine, theirs = list(self.net.state_dict().values()), list(net.state_dict().values())
        pairs = [(a, b) for a, b in zip(mine, theirs) if a.is_floating_point()]
        mine_floating, theirs_floating = [a for a, _ in pairs], [b for _, b in pairs]
        if step is None:
            torch._foreach_lerp_(mine_floating, theirs_floating, 1 - self.decay)  # pyright: ignore[reportPrivateImportUsage]
        else:
            share = (1 / (torch.as_tensor(step) + 1)).clamp(min=1 - self.decay)
            for a, b in pairs:
                a.lerp_(b, share.to(a))
        for a, b in zip(mine, theirs):
            if not a.is_floating_point():
                a.copy_(b)


def frozen_keys(module: nn.Module) -> set[str]:
    """The keys of `module.state_dict()` that belong to a `Frozen` network."""
    prefixes = tuple(
        f"{name}." for name, part in module.named_modules() if isinstance(part, Frozen)
    )
    return {key for key in module.state_dict() if prefixes and key.startswith(prefixes)}
