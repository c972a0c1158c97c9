"""Losses on how the images of a batch stand to each other, whatever the widths of two networks.

All of them compute in float32, under autocast too. A batch of one image has no relations: it costs
nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.losses.exact import product, unit


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""$\|\hat G_s - \hat G_t\|_F^2 / B^2$, with $\hat G$ the rows of $F F^\top$ over their norms.

    Both sides are (B, ...), of any shapes after the batch; F is their (B, N). No gradient reaches
    `teacher`. Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019,
    https://arxiv.org/abs/1907.09682, section 3.
    """
    own, other = student.flatten(1), teacher.detach().flatten(1)
    return F.mse_loss(unit(product(own, own)), unit(product(other, other)))


def correlation_congruence(student: Tensor, teacher: Tensor) -> Tensor:
    r"""The mean over adjacent rows of $|s_b - t_b| \cdot |s_{b+1} - t_{b+1}|$, of embeddings (B, D).

    Gradients reach both sides: each has an embedding to learn. It is what the author gave
    RepDistiller; Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019,
    https://arxiv.org/abs/1904.01802, compare the kernel matrices of both batches instead.
    """
    gap = (student.float() - teacher.float()).abs()
    return (gap[:-1] * gap[1:]).sum() / max(len(gap) - 1, 1)


def relational_distances(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 of the distances between the rows of embeddings (B, D), each over their mean.

    The mean is of the distances that are not zero, the loss of all B². Widths may differ. No
    gradient reaches `teacher`. Park et al., "Relational Knowledge Distillation", CVPR 2019,
    https://arxiv.org/abs/1904.05068, section 3.2.1.
    """
    return F.smooth_l1_loss(_distances(student), _distances(teacher.detach()))


def relational_angles(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 of the cosines of the angles in all B³ triangles of rows of embeddings (B, D).

    Where two corners are one point, the cosine counts as zero. Widths may differ. No gradient
    reaches `teacher`. Park et al., "Relational Knowledge Distillation", CVPR 2019,
    https://arxiv.org/abs/1904.05068, section 3.2.2.
    """
    own, other = unit(_gaps(student)), unit(_gaps(teacher.detach()))
    return F.smooth_l1_loss(product(own, own), product(other, other))


def probabilistic_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    r"""The mean over B² of $p_t \log(p_t / p_s)$, with p how near an image finds each of the batch.

    A row of p is $(1 + \cos) / 2$ with all rows of embeddings (B, D), over its sum; widths may
    differ. What is nearer to opposite than float32 can tell counts as 1e-7. No gradient reaches
    `teacher`. Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018, https://arxiv.org/abs/1803.10837, section 3.
    """
    log_p, log_q = _log_affinities(teacher.detach()), _log_affinities(student)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).mean()


def _log_affinities(embedding: Tensor) -> Tensor:
    directions = unit(embedding.float())
    affinities = ((1 + product(directions, directions)) / 2).clamp_min(1e-7)
    return affinities.log() - affinities.sum(1, keepdim=True).log()


def _gaps(embedding: Tensor) -> Tensor:
    """What leads from every row of (B, D) to every other: (B, B, D), float32."""
    rows = embedding.float()
    return rows - rows[:, None]


def _distances(embedding: Tensor) -> Tensor:
    """(B, B): their mean is 1, zeros left out, which also have no gradient."""
    square = _gaps(embedding).square().sum(2)
    apart = square > 0
    distances = torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)
    mean = distances.sum() / apart.sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)
