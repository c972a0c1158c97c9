"""Losses of maps of logits."""

import torch.nn.functional as F
from torch import Tensor


def channel_wise(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    r"""$\frac{T^2}{C} \sum_c KL(\phi(t_c)\,\|\,\phi(s_c))$, where $\phi$ is a softmax over the places.

    Of maps (B, C, H, W) of one shape, each channel softened by T: where in the image a channel is
    active. The mean over images. No gradient reaches `teacher`. Shu et al., "Channel-wise Knowledge
    Distillation for Dense Prediction", ICCV 2021, https://arxiv.org/abs/2011.13256, equations 4
    and 5.
    """
    log_p = F.log_softmax(teacher.detach().float().flatten(2) / temperature, dim=2)
    log_q = F.log_softmax(student.float().flatten(2) / temperature, dim=2)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(2).mean()
