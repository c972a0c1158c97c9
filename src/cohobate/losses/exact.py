"""Arithmetic that keeps float32 under autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def exact(device: torch.device) -> AbstractContextManager[object]:
    """Without autocast, which would round the factors of matrix products; the meta device has none."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left` (..., M, N) times `right` transposed (..., K, N): (..., M, K), float32."""
    with exact(left.device):
        return left.float() @ right.float().mT
