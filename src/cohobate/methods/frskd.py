from collections.abc import Sequence
from math import pi, sqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import attention_transfer, hint, kl, total
from cohobate.models import Classifier
from cohobate.modules import PyramidTeacher


class FRSKD(Method[Classifier]):
    """A small network on top refines the feature maps, and teaches its maps and predictions back.

    Ji et al., "Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
    Distillation", CVPR 2021, https://arxiv.org/abs/2103.08273. With maps F_i and logits z of the
    network, T_i and t of the self-teacher:
    L = CE(z) + CE(t) + alpha KL_T(z <- sg t) + beta sum_i D(F_i, sg T_i).
    The maps are not detached into the self-teacher: CE(t) trains the network, too. A batch that is
    mixed is mixed once, and all terms are of the mixture. The network alone is deployed.

    width: channels of the self-teacher for each of the network's.
    constant: channels of every level of the self-teacher, in the place of `width`; 256 is the
        paper's ablation, after EfficientDet's BiFPN.
    depth: separable convolutions in each of its nodes.
    temperature: softens both sides of the KL term, T.
    alpha: weight of the KL term; 2 is what the authors' README gives for CIFAR-100.
    beta: weight of the feature term; 100, likewise, is for attention, whose mean over pixels is
        small; overhaul's distance is a sum and wants far less.
    feature: the distance D of maps: attention transfer, FitNet's regression, the overhaul's
        regression with margins, or none (FRSKD\\F).
    ramp_start, ramp_end: shares of the epochs between which alpha and beta rise along
        exp(-5 (1 - t)²); before, they are zero. No rise for classification.
    variant: "released" computes what Self-KD-Lib's port of the method does: the KL term trains the
        self-teacher as well, for its target is not detached, and attention is of maps that were
        not rectified.

    Differs from the paper: resizing in the self-teacher is to the nearest, as in the authors' code
    (bilinear in the paper); the overhaul takes the network's maps as they are tapped, most of them
    after the ReLU, and its margins follow the self-teacher's batch norms as these learn, where the
    authors' code keeps those of the first step.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        width: Count = 2,
        constant: Count | None = None,
        depth: Count = 2,
        temperature: Positive = 4.0,
        alpha: Weight = 2.0,
        beta: Weight = 100.0,
        feature: Literal["attention", "fitnet", "overhaul", "none"] = "attention",
        ramp_start: Share = 0.0,
        ramp_end: Share = 0.0,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.temperature, self.alpha, self.beta = temperature, alpha, beta
        self.ramp_start, self.ramp_end, self.variant = ramp_start, ramp_end, variant
        self.self_teacher = PyramidTeacher(model, width=width, depth=depth, constant=constant)
        channels = [stage.channels for stage in model.stages]
        widths = list(zip(channels, self.self_teacher.bifpn.widths))
        self.distance: Any = None
        if feature == "attention":
            self.distance = Attention(rectified=variant == "paper")
        elif feature == "fitnet":
            self.distance = FitNet(widths)
        elif feature == "overhaul":
            self.distance = Overhaul(widths, self.self_teacher.bifpn.norms())

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        student = self.model.trace(batch.inputs)
        teacher = self.self_teacher(student.stages)
        label = batch.labels(self.model.num_classes)
        teach = kl if self.variant == "paper" else _mutual_kl
        rise = _rise(progress, self.ramp_start, self.ramp_end)
        losses = {
            "ce": F.cross_entropy(student.logits, label),
            "teacher_ce": F.cross_entropy(teacher.logits, label),
            "kd": rise * self.alpha * teach(student.logits, teacher.logits, self.temperature),
        }
        if self.distance is not None:
            target = [maps.detach() for maps in teacher.stages]
            losses["feature"] = rise * self.beta * self.distance(student.stages, target)
        return losses


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


def _rise(progress: Progress, start: float, end: float) -> Tensor:
    """What the weights are multiplied by in an epoch: 0 before the rise, 1 after it."""
    first, last = round(start * progress.epochs), round(end * progress.epochs)
    passed = torch.as_tensor(progress.epoch) + 1 - first
    share = (passed / max(1, last - first)).clamp(0, 1)
    return torch.where(passed > 0, torch.exp(-5 * (1 - share) ** 2), 0.0)


def _mutual_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`kl` with a gradient for the teacher as well."""
    log_p = F.log_softmax(teacher / temperature, 1)
    log_q = F.log_softmax(student / temperature, 1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
