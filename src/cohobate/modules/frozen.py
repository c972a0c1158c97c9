"""Networks that predict and are not trained."""

from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from cohobate.core import Batch


class _Predicting(nn.Module):
    """A network that is in eval mode, whatever those around it are in, and without gradients."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net: Any = net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        return self.net(*args)

    @torch.no_grad()
    def trace(self, *args: Any) -> Any:
        return self.net.trace(*args)


class Frozen(_Predicting):
    """A network that only predicts: in eval mode, without gradients, the same from first to last.

    A run stores its frozen networks once, not in every checkpoint.
    """

    def of(self, batch: Batch, images: Tensor) -> Tensor:
        """Its logits (B, C) of a batch, up to a constant in each row: recalled, where they are known.

        images: `batch.inputs`, which the caller has made already.
        """
        return self(images) if batch.taught is None else batch.taught


class EMA(_Predicting):
    """A moving average of another network's weights and buffers, in eval mode, without gradients."""

    def __init__(self, net: nn.Module, decay: float):
        super().__init__(deepcopy(net))
        self.decay = decay

    @torch.no_grad()
    def follow(
        self, net: nn.Module, step: Tensor | int | None = None, *, decay: Tensor | None = None
    ) -> None:
        """Moves every weight by 1 - decay towards that of `net`; counters are copied.

        step: how many were made before; the decay is then 1 - 1 / (step + 1) at most, and the
            average forgets the weights that it began with.
        decay: that of this step alone, where it is not the average's own.
        """
        share = 1 - (self.decay if decay is None else decay)
        if step is not None:
            share = (1 / (torch.as_tensor(step) + 1)).clamp(min=share)
        mine, theirs = list(self.net.state_dict().values()), list(net.state_dict().values())
        pairs = [(a, b) for a, b in zip(mine, theirs) if a.is_floating_point()]
        mine_floating, theirs_floating = [a for a, _ in pairs], [b for _, b in pairs]
        if isinstance(share, Tensor):
            for a, b in pairs:
                a.lerp_(b, share.to(a))
        else:
            torch._foreach_lerp_(mine_floating, theirs_floating, share)  # pyright: ignore[reportPrivateImportUsage]
        for a, b in zip(mine, theirs):
            if not a.is_floating_point():
                a.copy_(b)


def frozen_keys(module: nn.Module) -> set[str]:
    """The keys of `module.state_dict()` that belong to a `Frozen` network."""
    prefixes = tuple(
        f"{name}." for name, part in module.named_modules() if isinstance(part, Frozen)
    )
    return {key for key in module.state_dict() if prefixes and key.startswith(prefixes)}
