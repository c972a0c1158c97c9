"""Losses on logits. All of them compute in float32 and in log space."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of scalar losses."""
    return torch.stack(tuple(terms)).sum()


def kl(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""$T^2\,KL(\sigma(t/T)\,\|\,\sigma(s/T))$ of logits (B, C, ...), averaged over all but the classes.

    No gradient reaches `teacher`. Hinton et al., "Distilling the Knowledge in a Neural Network",
    2015, https://arxiv.org/abs/1503.02531, section 2.
    """
    log_p = F.log_softmax(teacher.detach().float() / temperature, dim=1)
    log_q = F.log_softmax(student.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1).mean()


def rich_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    r"""$T^2 \sum_i m_i \sum_c KL(\sigma(t_{ic}/T)\,\|\,\sigma(s_{ic}/T)) / \sum_i m_i$ of logits (N, C).

    Here each class is a decision of its own, $\sigma$ the logistic function, and a place i counts by how
    rich it is: by $m_i = \max_c \sigma(t_{ic})$. No gradient reaches `teacher`. Du et al., "Distilling
    Object Detectors with Feature Richness", NeurIPS 2021, https://arxiv.org/abs/2111.00674, which has
    the cross-entropy in the place of the divergence.
    """
    guess, target = student.float() / temperature, teacher.detach().float()
    rich = target.amax(1).sigmoid()
    target = target / temperature
    gap = [F.logsigmoid(sign * target) - F.logsigmoid(sign * guess) for sign in (1, -1)]
    divergence = target.sigmoid() * gap[0] + (-target).sigmoid() * gap[1]
    tiny = torch.finfo(rich.dtype).tiny
    return temperature**2 * (rich * divergence.sum(1)).sum() / rich.sum().clamp_min(tiny)


def standardised(logits: Tensor) -> Tensor:
    r"""Logits (B, C) over their standard deviation, each row by its own: $z_b / \mathrm{std}_C(z_b)$.

    The deviation is the unbiased one over the C classes, and carries gradient: the gradient that
    reaches a row is orthogonal to it, so that nothing drives its norm. The mean stays, since a
    softmax does not see it. MIX-KD, WACV 2023, https://arxiv.org/abs/2211.03946, which rescales
    so as to need no temperature.

    Differs from the paper: a variance of 1e-8 is added, so that a row of equal logits stays finite.
    """
    logits = logits.float()
    return logits / (logits.var(1, keepdim=True) + 1e-8).sqrt()
