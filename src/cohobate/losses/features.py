"""Losses on feature maps."""

import torch.nn.functional as F
from torch import Tensor


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two feature maps (B, C, ...) of one shape, in float32.

    Gradients reach both sides; detach the one that is only to teach. Romero et al., "FitNets",
    ICLR 2015, https://arxiv.org/abs/1412.6550, equation 3.
    """
    return F.mse_loss(student.float(), teacher.float())
