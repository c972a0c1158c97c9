"""Losses on logits that tell the class of the label from all others.

Each gives one number a row (B,), float32, as `Batch.over_labels` wants it: of a mixed image, with
either label. Where targets are maps (B, ...), a row is the mean over its pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def split(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The odds of the label's class, and the logits of all others.

    logits: (B, C, ...). targets: class indices (B, ...).
    Gives the log-odds of the label's class against all others together (B, ...), and the others'
    logits (B, C - 1, ...), float32.
    """
    logits = logits.float()
    place = targets[:, None]
    rest = torch.arange(logits.shape[1] - 1, device=logits.device)
    rest = rest.view(-1, *[1] * (logits.ndim - 2))
    others = logits.gather(1, rest + (rest >= place))
    return logits.gather(1, place).squeeze(1) - others.logsumexp(1), others


def dkd(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    r"""$T^2\,(\alpha\,\mathrm{TCKD} + \beta\,\mathrm{NCKD})$ of logits (B, C, ...): one number a row.

    TCKD is the divergence of "the label's class, or another", NCKD that of which other class it is;
    with two classes there is no choice among the others, and NCKD is zero. No gradient reaches
    `teacher`. Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022,
    https://arxiv.org/abs/2203.08679, equation 7.
    """
    odds, others = split(student.float() / temperature, targets)
    odds_t, others_t = split(teacher.detach().float() / temperature, targets)
    target = odds_t.sigmoid() * (F.logsigmoid(odds_t) - F.logsigmoid(odds))
    no_target = (-odds_t).sigmoid() * (F.logsigmoid(-odds_t) - F.logsigmoid(-odds))
    log_p, log_q = F.log_softmax(others_t, 1), F.log_softmax(others, 1)
    which = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
    return temperature**2 * _rows(alpha * (target + no_target) + beta * which)


def nkd(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    *,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    r"""$-t_y \log s_y - \gamma\,T^2 \sum_{i \neq y} \hat t_i \log \hat s_i$ of logits (B, C, ...).

    One number a row. s and t are probabilities at temperature 1, with a hat those at T among all
    classes but the label's, where they sum to one. No gradient reaches `teacher`. Yang et al.,
    "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    https://arxiv.org/abs/2303.13005.
    """
    odds, others = split(student, targets)
    odds_t, others_t = split(teacher.detach(), targets)
    target = odds_t.sigmoid() * F.logsigmoid(odds)
    p, log_q = F.softmax(others_t / temperature, 1), F.log_softmax(others / temperature, 1)
    return _rows(-target - gamma * temperature**2 * (p * log_q).sum(1))


def wsld(student: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float = 4.0) -> Tensor:
    r"""$(1 - e^{-\mathrm{CE}(s, y) / \mathrm{CE}(t, y)})\,T^2 \sum_i -\hat t_i \log \hat s_i$.

    One number a row of logits (B, C, ...): the cross-entropy with the teacher's predictions, both
    at T, by a weight that is small where the student has more of the label than the teacher. No
    gradient reaches `teacher`, and none passes the weight. Zhou et al., "Rethinking Soft Labels for
    Knowledge Distillation", ICLR 2021, https://arxiv.org/abs/2102.00650.
    """
    teacher = teacher.detach().float()
    odds, odds_t = split(student.detach(), targets)[0], split(teacher, targets)[0]
    weight = -torch.expm1(-(_log_cross_entropy(odds) - _log_cross_entropy(odds_t)).exp())
    p, log_q = F.softmax(teacher / temperature, 1), F.log_softmax(student.float() / temperature, 1)
    return -(temperature**2) * _rows(weight * (p * log_q).sum(1))


def _log_cross_entropy(odds: Tensor) -> Tensor:
    """log(-log p) of log-odds of p: of a p that rounds to one as well."""
    return torch.where(odds > 15, -odds, F.softplus(-odds).log())


def _rows(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values
