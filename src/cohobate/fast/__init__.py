"""The same numbers sooner: what is done to a method, or a network, before it runs."""

from typing import Any

import torch
from torch import nn

from cohobate.fast.compiling import compile_whole, decide
from cohobate.fast.folding import fold
from cohobate.fast.products import use_products

__all__ = ["compile_whole", "decide", "fold", "prepare"]


def prepare(module: nn.Module) -> None:
    """Channels last in memory, small convolutions as matrix products, and padding given as zeros where
    bf16 needs it for a whole gradient (`PaddedConv2d`); in place."""
    as_any: Any = module
    as_any.to(memory_format=torch.channels_last)
    use_products(module)
