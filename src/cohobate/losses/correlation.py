"""Losses on how predictions are related: class with class, and image with image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.losses.exact import exact, unit


def pearson(student: Tensor, teacher: Tensor, dim: int = 1) -> Tensor:
    r"""Mean of $1 - \rho$, Pearson's correlation along `dim`, over everything else.

    student, teacher: of one shape, such as probabilities (B, C): `dim` 1 relates the classes of an
    image, `dim` 0 the images of a class. What does not vary in `teacher`, up to rounding, has
    nothing to teach and counts as zero: all of a batch of one image along `dim` 0. What does not
    vary in `student` alone counts as uncorrelated, one, without a gradient. No gradient reaches
    `teacher`. Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022,
    https://arxiv.org/abs/2205.10536.
    """
    mine, _ = _centred(student.float(), dim)
    theirs, varies = _centred(teacher.detach().float(), dim)
    return torch.where(varies, 1 - (mine * theirs).sum(dim), 0.0).mean()


def between_images(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    r"""$\|P_s P_s^\top - P_t P_t^\top\|_F^2 / B$ of logits (B, C), P their softmax at T.

    No gradient reaches `teacher`. Jin et al., "Multi-Level Logit Distillation", CVPR 2023,
    https://doi.org/10.1109/CVPR52729.2023.02325, the batch level.
    """
    with exact(student.device):
        difference, both = _probabilities(student, teacher, temperature)
        half = difference @ both.T
        return (half + half.T).square().sum() / (4 * len(student))


def between_classes(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    r"""$\|P_s^\top P_s - P_t^\top P_t\|_F^2 / C$ of logits (B, C), P their softmax at T.

    It takes B × B numbers, not C × C. No gradient reaches `teacher`. Jin et al., "Multi-Level Logit
    Distillation", CVPR 2023, https://doi.org/10.1109/CVPR52729.2023.02325, the class level.
    """
    with exact(student.device):
        difference, both = _probabilities(student, teacher, temperature)
        # The norm of X + Xᵀ over 2, where X = DᵀS: |X|² = sum(DDᵀ ∘ SSᵀ), and ⟨X, Xᵀ⟩ likewise.
        cross = both @ difference.T
        squares = (difference @ difference.T) * (both @ both.T) + cross * cross.T
        return squares.sum() / (2 * student.shape[1])


def _centred(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Values less their mean along `dim`, of unit norm there, and where they vary at all.

    What does not vary is zero, and has no gradient.
    """
    centred = values - values.mean(dim, keepdim=True)
    largest = centred.detach().abs().amax(dim, keepdim=True)
    rounding = 8 * torch.finfo(values.dtype).eps * values.detach().abs().amax(dim, keepdim=True)
    varies = largest > rounding.clamp_min(1e-30)
    return unit(torch.where(varies, centred, 0.0), dim), varies.squeeze(dim)


def _probabilities(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Difference and sum of two predictions: of squares that are close, no digits are lost."""
    p = F.softmax(teacher.detach().float() / temperature, 1)
    q = F.softmax(student.float() / temperature, 1)
    return q - p, q + p
