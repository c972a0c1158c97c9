"""Losses of logits and labels. All of them compute in float32 and in log space.

Those that want class indices (B,) give one number a row, for `Batch.over_labels`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    r"""$-(1 - p_y)^\gamma \log p_y$ of each row (B,), of logits (B, C) and class indices (B,).

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
    https://arxiv.org/abs/1708.02002, equation 4.
    """
    log_p = -F.cross_entropy(logits.float(), targets, reduction="none")
    # Below 1 the power of an exact zero has an infinite slope, which times log p = 0 is no number.
    rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(torch.float32).tiny)
    return -(rest**gamma) * log_p


def entropy(logits: Tensor) -> Tensor:
    r"""$-\sum_c p_c \log p_c$ of the softmax of logits (B, C, ...), averaged over all but the classes.

    Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions",
    2017, https://arxiv.org/abs/1701.06548, section 3.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def virtual_softmax(logits: Tensor, weight: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    r"""Cross-entropy of each row (B,) with one logit more, $\|w_y\| \|f\|$, that no row should have.

    logits: (B, C), of the embedding (B, D) and a linear classifier's weight (C, D).
    targets: (B,) class indices y.

    Chen et al., "Virtual Class Enhanced Discriminative Embedding Learning", NeurIPS 2018,
    https://arxiv.org/abs/1811.12611. Gradients reach the weight and the embedding
    through the added logit as well.
    """
    lengths = torch.linalg.vector_norm(weight.float(), dim=1)
    virtual = lengths[targets] * torch.linalg.vector_norm(embedding.float(), dim=1)
    whole = torch.cat([logits.float(), virtual[:, None]], 1)
    return F.cross_entropy(whole, targets, reduction="none")


def virtual_teacher(targets: Tensor, num_classes: int, correct: float) -> Tensor:
    """Probabilities (B, C): `correct` on the class (B,), and the rest spread over the others.

    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020,
    https://arxiv.org/abs/1909.11723, section 5.
    """
    rest = (1 - correct) / (num_classes - 1)
    return rest + (correct - rest) * F.one_hot(targets, num_classes).float()


def virtual_kl(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    r"""$KL(\sigma(q / T)\,\|\,\sigma(z))$ of each row (B,), of logits z (B, C) and probabilities q.

    The softmax is of the probabilities themselves, and the logits are not softened, as in the code
    that Yuan et al. released (https://github.com/yuanli2333/Teacher-free-Knowledge-Distillation).
    No gradient reaches `teacher`.
    """
    log_q = F.log_softmax(teacher.detach().float() / temperature, dim=1)
    log_p = F.log_softmax(logits.float(), dim=1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(1)


def normalised(logits: Tensor) -> Tensor:
    r"""Logits (B, C) at unit length, each row by its own: $z_b / \|z_b\|$; zeros stay zero.

    Wei et al., "Mitigating Neural Network Overconfidence with Logit Normalization", ICML 2022,
    https://arxiv.org/abs/2205.09310, section 3. The length carries gradient, so that what
    reaches a row is orthogonal to it.
    """
    logits = logits.float()
    length = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    return logits / torch.where(length > 0, length, 1.0)
