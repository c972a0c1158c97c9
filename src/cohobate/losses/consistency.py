"""Losses between predictions of one network: of other views, other images, other times."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.losses.exact import exact, unit


def jensen_shannon(*logits: Tensor) -> Tensor:
    r"""The mean over k of $KL(p_k\,\|\,m)$ with m the mean of all p_k, of logits (B, C, ...) each.

    Averaged over all but the classes; gradients reach every side. Between 0 and the logarithm of
    their number. Hendrycks et al., "AugMix", ICLR 2020, https://arxiv.org/abs/1912.02781,
    equations 1 and 2.
    """
    log_p = torch.stack([F.log_softmax(z.float(), dim=1) for z in logits])
    log_m = log_p.logsumexp(0, keepdim=True) - log(len(logits))
    return (log_p.exp() * (log_p - log_m)).sum(2).mean()


def probability_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the probabilities of logits (B, C, ...), over the classes too.

    No gradient reaches `teacher`. Tarvainen and Valpola, "Mean teachers are better role models",
    NeurIPS 2017, https://arxiv.org/abs/1703.01780, section 2, with the mean of their code.
    """
    return F.mse_loss(student.float().softmax(1), teacher.detach().float().softmax(1))


def squared_chord(student: Tensor, teacher: Tensor) -> Tensor:
    r"""$\|\bar s - \bar t\|^2 = 2 - 2 \cos(s, t)$ of rows (B, D), each over its norm: the mean over rows.

    No gradient reaches `teacher`; a row of zeros is at right angles to all. Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020,
    https://arxiv.org/abs/2006.07733, equation 2.
    """
    cosine = (unit(student.float()) * unit(teacher.detach().float())).sum(1)
    return 2 - 2 * cosine.mean()


def soft_kl(student: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    r"""$T^2\,KL(q\,\|\,\sigma(s/T))$ of logits s and probabilities q, both (B, C, ...).

    Averaged over all but the classes. No gradient reaches `target`, which is taken as it is: where
    it is of logits, these were softened before. Ge et al., "BAKE", 2021,
    https://arxiv.org/abs/2104.13298, section 3.1.
    """
    log_q = F.log_softmax(student.float() / temperature, dim=1)
    gap = F.kl_div(log_q, target.detach().float(), reduction="none")
    return temperature**2 * gap.sum(1).mean()


@torch.no_grad()
def propagated(features: Tensor, logits: Tensor, share: float, temperature: float = 1.0) -> Tensor:
    r"""Each image's prediction, ensembled with those of the images of the batch that it resembles.

    $(1-w)(I-wA)^{-1}\sigma(z/T)$ with features (B, D), logits z (B, C) and w the share of others;
    row b of A is the softmax, over all images but b, of the cosine similarities. Gives probabilities
    (B, C), float32, without gradient; of a single image its own. Ge et al., "BAKE", 2021,
    https://arxiv.org/abs/2104.13298, section 3.2.
    """
    with exact(features.device):
        unit = F.normalize(features.float())
        itself = torch.eye(len(unit), device=unit.device)
        affinity = (unit @ unit.T - 1e9 * itself).softmax(1)
        own = (logits.float() / temperature).softmax(1)
        return (1 - share) * torch.linalg.solve(itself - share * affinity, own)


def mean_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Squared distance of the mean vectors of two sets of features (B, D).

    The maximum mean discrepancy with a linear kernel; gradients reach both sides. Xu and Liu,
    "Data-Distortion Guided Self-Distillation", AAAI 2019, https://doi.org/10.1609/aaai.v33i01.33015565.
    """
    return (first.float().mean(0) - second.float().mean(0)).square().sum()


def smoothed_target(logits: Tensor, targets: Tensor) -> Tensor:
    r"""$-(p_t^2+1-\overline{p_t^2})\log p_t$ of the target's probability: a number a row (B,).

    Of logits (B, C) and classes (B,); the bar is the mean over the batch. No gradient reaches the
    factor. Yang et al., "USKD", ICCV 2023, https://arxiv.org/abs/2303.13005, section 3.2.
    """
    log_p = F.log_softmax(logits.float(), 1).gather(1, targets[:, None])[:, 0]
    square = (2 * log_p.detach()).exp()
    return -(square + 1 - square.mean()) * log_p


def non_target(logits: Tensor, others: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the distribution over the classes that are not the target: a number a row (B,).

    Both the logits (B, C) and the soft labels `others` (B, C), zero or more, are normalised over
    these classes. No gradient reaches `others`. Yang et al., "USKD", ICCV 2023,
    https://arxiv.org/abs/2303.13005, section 3.1.
    """
    target = F.one_hot(targets, logits.shape[1]).bool()
    label = others.detach().float().masked_fill(target, 0)
    log_q = logits.float().masked_fill(target, -torch.inf).log_softmax(1)
    cross = (label * log_q.masked_fill(target, 0)).sum(1)
    return -cross / label.sum(1).clamp_min(torch.finfo(torch.float32).tiny)


def zipf(scores: Tensor) -> Tensor:
    """One over the rank of every class, by falling score (B, C); of equal ones the first leads.

    Yang et al., "USKD", ICCV 2023, https://arxiv.org/abs/2303.13005, section 3.2.
    """
    rank = scores.argsort(dim=1, descending=True, stable=True).argsort(1)
    return 1 / (1 + rank.float())
