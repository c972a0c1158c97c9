"""Losses that compare rows with one another: by contrast, by transport, class by class."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.losses.exact import product
from cohobate.losses.labels import normalised


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """The cosine of every row of (N, D) with every row of (M, D): (N, M), float32.

    A row of zeros is at right angles to all. No autocast touches the product, whose rounding a low
    temperature would magnify.
    """
    return product(normalised(rows), normalised(columns))


def nce(positive: Tensor, negative: Tensor, apart: Tensor, partition: Tensor) -> Tensor:
    r"""Telling a row's partner from K others: $-\log h(p) - K\,\mathrm{mean}_k \log(1 - h(n_k))$.

    The mean over rows, where $h(s) = e^s / (e^s + K z)$. Tian et al., "Contrastive Representation
    Distillation", ICLR 2020, https://arxiv.org/abs/1910.10699, equation 18.

    positive: (B,) scores with the partner, such as inner products over a temperature.
    negative: (B, K) scores with the others.
    apart: (B, K), whether one counts: the mean is over those, and none at all cost nothing.
    partition: () log z, where z is the mean of $e^s$ over pairs that are none.
    """
    positive, negative = positive.float(), negative.float()
    count = negative.shape[1]
    offset = log(count) + partition
    found = F.softplus(offset - positive)
    taken = torch.where(apart, F.softplus(negative - offset), 0.0).sum(1)
    return (found + count * taken / apart.sum(1).clamp(min=1)).mean()


def wasserstein_dual(critic: Tensor) -> Tensor:
    r"""The Wasserstein distance of pairs from chance, negative: $-(E_b[g_{bb}] - E_{b \ne c}[g_{bc}])$.

    By Kantorovich and Rubinstein, where the critic g is 1-Lipschitz. Chen et al., "Wasserstein
    Contrastive Representation Distillation", CVPR 2021, https://arxiv.org/abs/2012.08674, section 3.

    critic: (B, B) g of every row of one network with every row of another; one row alone gives zero.
    """
    critic = critic.float()
    count, pairs = len(critic), critic.diagonal().mean()
    if count == 1:
        return pairs - pairs
    return (critic.mean() - pairs) * (count / (count - 1))


def sinkhorn(cost: Tensor, regularisation: float, iterations: int) -> Tensor:
    """The plan (N, M) that carries N equal shares to M equal ones at the least cost (N, M).

    The entropy of the plan counts with `regularisation`. In log space, by a fixed number of
    iterations, each of which fits the columns and then the rows; no gradient passes. Cuturi,
    "Sinkhorn Distances", NeurIPS 2013, https://arxiv.org/abs/1306.0895.
    """
    scaled = -cost.detach().float() / regularisation
    rows, columns = scaled.shape
    left = scaled.new_zeros(rows, 1)
    right = scaled.new_zeros(1, columns)
    for _ in range(iterations):
        right = -log(columns) - torch.logsumexp(scaled + left, 0, keepdim=True)
        left = -log(rows) - torch.logsumexp(scaled + right, 1, keepdim=True)
    return (scaled + left + right).exp()


def transport(student: Tensor, teacher: Tensor, regularisation: float, iterations: int) -> Tensor:
    """What it costs to carry the rows of a student (N, D) to those of a teacher (M, D).

    The cost of a pair is one minus its cosine, and the plan is that of `sinkhorn`, which is taken
    as fixed. No gradient reaches `teacher`. Chen et al., "Wasserstein Contrastive Representation
    Distillation", CVPR 2021, https://arxiv.org/abs/2012.08674, section 3.
    """
    cost = 1 - cosines(student, teacher.detach())
    return (sinkhorn(cost, regularisation, iterations) * cost).sum()


def inter_class(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """How far the places where two classes are seen lie apart: (B, C, C), or (1, C, C).

    Of logits (B, C, ...), a class is spread over the places of each map; of logits (B, C), over the
    images of the batch. A pair's entry is the Kullback-Leibler divergence of its two softmaxes over
    places. Mansourian et al., "AICSD: Adaptive Inter-Class Similarity Distillation for Semantic
    Segmentation", Multimedia Tools and Applications 2025, https://arxiv.org/abs/2308.04243.
    """
    spread = logits.t()[None] if logits.ndim == 2 else logits.flatten(2)
    log_p = F.log_softmax(spread.float() / temperature, dim=2)
    crossed = product(log_p.exp(), log_p)
    return crossed.diagonal(dim1=1, dim2=2)[:, :, None] - crossed


def inter_class_similarity(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean squared difference of the two matrices of `inter_class`, of logits (B, C) or (B, C, ...).

    No gradient reaches `teacher`. A single image without places gives zero. Mansourian et al.,
    "AICSD: Adaptive Inter-Class Similarity Distillation for Semantic Segmentation", Multimedia
    Tools and Applications 2025, https://arxiv.org/abs/2308.04243.
    """
    wanted = inter_class(teacher.detach(), temperature)
    return F.mse_loss(inter_class(student, temperature), wanted)


def least_wrong(scores: Tensor, right: Tensor, share: float) -> Tensor:
    """Which rows (N,) of scores (N, C) put the `right` class (N,) first, and the best of the others.

    Of those that do not, the given share counts, rounded down, by how many classes they put before
    the right one. Xu et al., "Knowledge Distillation Meets Self-Supervision", ECCV 2020,
    https://arxiv.org/abs/2006.07114, section 3.
    """
    rank = (scores > scores.gather(1, right[:, None])).sum(1)
    place = rank.argsort(stable=True).argsort()
    wrong = (rank > 0).sum()
    return place < len(rank) - wrong + (share * wrong).floor()


def chosen_kl(student: Tensor, teacher: Tensor, chosen: Tensor, temperature: float = 1.0) -> Tensor:
    r"""$T^2\,KL(\sigma(t/T)\,\|\,\sigma(s/T))$ of logits (N, C), the mean over the `chosen` rows (N,).

    No gradient reaches `teacher`; none chosen cost nothing. Hinton et al., "Distilling the
    Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531, section 2.
    """
    log_p = F.log_softmax(teacher.detach().float() / temperature, dim=1)
    log_q = F.log_softmax(student.float() / temperature, dim=1)
    rows = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
    return temperature**2 * torch.where(chosen, rows, 0.0).sum() / chosen.sum().clamp(min=1)
