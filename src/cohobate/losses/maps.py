"""Losses that join the maps of a student to those of a teacher of the same shape."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.losses.exact import exact, unit


def partial_l2(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    r"""$\sum_i (s_i - m_i)^2$ towards $m = \max(t, margin)$, where a ReLU lets it matter.

    A number counts where the target is positive, or is surpassed; the sum is over (C, H, W), the
    mean over images. Both are maps (B, C, H, W), best before their ReLU; margin: (C, 1, 1), below
    zero. No gradient reaches `teacher`. Heo et al., "A Comprehensive Overhaul of Feature
    Distillation", ICCV 2019, https://arxiv.org/abs/1904.01866, section 3.
    """
    guess, target = student.float(), torch.maximum(teacher.detach().float(), margin)
    counts = (guess > target) | (target > 0)
    return ((guess - target).square() * counts).sum() / len(guess)


def boundary(student: Tensor, teacher: Tensor, margin: float = 1.0) -> Tensor:
    r"""$\sum_i \mathrm{relu}(\mu \mp s_i)^2$: minus where $t_i > 0$, plus elsewhere.

    A squared hinge, of the width $\mu$ = margin, on which neurons fire; the sum is over all but the
    images, the mean over them. Both are maps (B, C, ...) of one shape, before their ReLU. No
    gradient reaches `teacher`. Heo et al., "Knowledge Transfer via Distillation of Activation
    Boundaries Formed by Hidden Neurons", AAAI 2019, https://arxiv.org/abs/1811.03233, its alternative loss.
    """
    sign = torch.where(teacher.detach() > 0, 1.0, -1.0)
    return F.relu(margin - sign * student.float()).square().sum() / len(student)


def flow(first: Tensor, second: Tensor) -> Tensor:
    r"""How the channels of two maps go together (B, C, D): $\frac{1}{HW}\sum_{xy} F_{cxy} G_{dxy}$.

    first: (B, C, H, W). second: (B, D, H, W). In float32, under autocast too. Yim et al., "A Gift
    from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning",
    CVPR 2017, equation 1
    (https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html).
    """
    with exact(first.device):
        rows, columns = first.float().flatten(2), second.float().flatten(2)
        return rows @ columns.transpose(1, 2) / rows.shape[2]


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared errors of two maps and of their averages over 4 × 4, 2 × 2 and 1 × 1 parts.

    Both are (B, C, H, W). The maps have weight 1, the parts 1/2, 1/4 and 1/8 as far as there are
    fewer of them than pixels across, and all weights are divided by their sum. No gradient reaches
    `teacher`. Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021,
    https://arxiv.org/abs/2104.09044, section 3.3.
    """
    guess, target = student.float(), teacher.detach().float()
    loss, weight, whole = F.mse_loss(guess, target), 1.0, 1.0
    for parts in (4, 2, 1):
        if parts < min(guess.shape[-2:]):
            weight /= 2
            one, other = (F.adaptive_avg_pool2d(maps, parts) for maps in (guess, target))
            loss, whole = loss + weight * F.mse_loss(one, other), whole + weight
    return loss / whole


def factor_transfer(student: Tensor, teacher: Tensor, *, pooled: bool = False) -> Tensor:
    """Mean absolute difference of two maps (B, C, H, W), each made a vector of unit norm.

    pooled: of their means over the channels of squares, as attention is made of maps.

    A map of zeros stays zero. No gradient reaches `teacher`. Kim et al., "Paraphrasing Complex
    Network: Network Compression via Factor Transfer", NeurIPS 2018,
    https://arxiv.org/abs/1802.04977, section 3.2 with p = 1.
    """
    return F.l1_loss(unit(_rows(student, pooled)), unit(_rows(teacher.detach(), pooled)))


def map_errors(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference (B,) of two maps (B, C, ...) of each image, in float32.

    No gradient reaches `teacher`.
    """
    return (student.float() - teacher.detach().float()).square().flatten(1).mean(1)


def _rows(maps: Tensor, pooled: bool) -> Tensor:
    """Maps (B, C, H, W) as vectors (B, n), float32."""
    maps = maps.float()
    return maps.square().mean(1).flatten(1) if pooled else maps.flatten(1)
