"""How far a network's maps lie from refined ones, summed over the stages."""

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.losses import attention_transfer, hint, total
from cohobate.modules.bifpn import PyramidTeacher

BETAS = {"attention": 100.0, "fitnet": 2.0, "overhaul": 2e-4, "none": 0.0}
"""The weight of each distance. That of attention is published; the others are ours, at which the
term's gradient is of the order of the cross-entropy's in new networks at 32 and 64 pixels."""


def weigh(options: dict[str, Any]) -> dict[str, Any]:
    """A method's options with the `beta` of its `feature`, where none was given."""
    beta = options["beta"]
    return {**options, "beta": BETAS[options["feature"]] if beta is None else beta}


def distance(feature: str, teacher: PyramidTeacher, *, rectified: bool = True) -> nn.Module | None:
    """The distance of this name between a model's maps and those of its self-teacher; None: none.

    rectified: whether attention is of rectified maps, or of the maps as they are.
    """
    if feature == "none":
        return None
    if feature == "attention":
        return Attention(rectified=rectified)
    widths = list(zip(teacher.bifpn.channels, teacher.bifpn.widths))
    return FitNet(widths) if feature == "fitnet" else Overhaul(widths, teacher.bifpn.norms())


class Attention(nn.Module):
    """Attention transfer, summed over the stages; of rectified maps, or of the maps as they are."""

    def __init__(self, *, rectified: bool):
        super().__init__()
        self.rectified = rectified

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        if self.rectified:
            student, teacher = [F.relu(f) for f in student], [F.relu(f) for f in teacher]
        return total(attention_transfer(f, t) for f, t in zip(student, teacher))


class FitNet(nn.Module):
    """Mean squared error of each map's regression on the teacher's rectified map, summed.

    widths: channels of the student's and of the teacher's map of each stage.
    """

    def __init__(self, widths: Sequence[tuple[int, int]]):
        super().__init__()
        regressors = (nn.Sequential(*_regressor(a, b), nn.ReLU(inplace=True)) for a, b in widths)
        self.regressors: Any = nn.ModuleList(regressors)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        stages = zip(self.regressors, student, teacher)
        return total(hint(regressor(F.relu(f)), F.relu(t)) for regressor, f, t in stages)


class Overhaul(nn.Module):
    """Squared errors towards maps before the ReLU, as far as the ReLU lets them matter.

    Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019,
    https://arxiv.org/abs/1904.01866. With r_i a regression of F_i and m_i the mean of
    the negative part of T_i by channel, the target is max(T_i, m_i); a pixel counts where the
    target is positive or surpassed. Summed over all but the images, halved with each stage up.

    widths: channels of the student's and of the teacher's map of each stage.
    norms: the batch norms that the teacher's maps come from; m_i is of their Gaussians.
    """

    def __init__(self, widths: Sequence[tuple[int, int]], norms: Sequence[nn.BatchNorm2d]):
        super().__init__()
        self.regressors: Any = nn.ModuleList(nn.Sequential(*_regressor(a, b)) for a, b in widths)
        self.norms = tuple(norms)  # a tuple: they are the teacher's modules, not this one's
        self.note = "overhaul: the network's maps are taken as they are tapped, after most ReLUs"

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        terms = []
        for regressor, norm, f, t in zip(self.regressors, self.norms, student, teacher):
            guess, target = regressor(f).float(), torch.maximum(t.float(), margin(norm))
            counts = (guess > target) | (target > 0)
            terms.append(((guess - target).square() * counts).sum() / len(f))
        return total(term / 2**height for height, term in enumerate(reversed(terms)))


def margin(norm: nn.BatchNorm2d) -> Tensor:
    """The mean of the negative part of each channel (C, 1, 1), Gaussian by the norm's scale and shift.

    Three deviations below zero where hardly a thousandth is negative. Without gradient.
    """
    deviation = norm.weight.detach().float().abs().clamp_min(1e-6)
    mean = norm.bias.detach().float()
    negative = torch.special.ndtr(-mean / deviation)
    density = torch.exp(-0.5 * (mean / deviation).square()) / sqrt(2 * pi)
    truncated = mean - deviation * density / negative.clamp_min(1e-3)
    return torch.where(negative > 1e-3, truncated, -3 * deviation)[:, None, None]


def _regressor(inside: int, outside: int) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside)]
