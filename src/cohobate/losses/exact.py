"""Arithmetic that keeps float32 under autocast, and small numbers from rounding to none."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
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


def unit(values: Tensor, dim: int = -1) -> Tensor:
    """Values of unit norm along `dim`, however short; what is all zeros stays so, and has no gradient."""
    largest = values.detach().abs().amax(dim, keepdim=True)
    there = largest > 1e-30
    scaled = torch.where(there, values / torch.where(there, largest, 1.0), 1.0)
    return torch.where(there, F.normalize(scaled, dim=dim), 0.0)
