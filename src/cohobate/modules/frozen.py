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
    def follow(self, net: nn.Module) -> None:
        """Moves every weight by 1 - decay towards that of `net`; counters are copied."""
        mine, theirs = list(self.net.state_dict().values()), list(net.state_dict().values())
        pairs = [(a, b) for a, b in zip(mine, theirs) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - self.decay)  # pyright: ignore[reportPrivateImportUsage]
        for a, b in zip(mine, theirs):
            if not a.is_floating_point():
                a.copy_(b)


def frozen_keys(module: nn.Module) -> set[str]:
    """The keys of `module.state_dict()` that belong to a `Frozen` network."""
    prefixes = tuple(
        f"{name}." for name, part in module.named_modules() if isinstance(part, Frozen)
    )
    return {key for key in module.state_dict() if prefixes and key.startswith(prefixes)}
