"""Matrix products that keep float32."""

import torch
from torch import Tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left` (..., M, N) times `right` transposed (..., K, N): (..., M, K), float32 under autocast too."""
    if not torch.amp.is_autocast_available(left.device.type):
        return left.float() @ right.float().mT
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float().mT
