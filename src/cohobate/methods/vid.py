from math import expm1, log
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import gaussian_likelihood, total
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.connector import pairs, shapes
from cohobate.modules.paired import paired

FIRST, LEAST = 5.0, 1e-5
"""The variance that training begins with, and what it stays above."""


class VID(Method[Classifier]):
    """The student's maps are to make the teacher's likely, where these can be told at all.

    Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
    https://arxiv.org/abs/1904.05835, section 2. With mu three learned 1×1 convolutions with ReLUs
    between, and v a learned variance of each of the teacher's channels, L = gamma CE(s, y) +
    beta sum_l mean [(T_l - mu(F_l))² / v + log v] / 2 over the stages that meet, as RepDistiller
    has it (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    gamma: weight of the cross-entropy.
    beta: weight of the likelihood.

    Differs from the paper: maps alone are told, no logits, as in RepDistiller. Of two maps that meet, the larger is
    averaged down to the size of the other first.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        gamma: Weight = 1.0,
        beta: Weight = 1.0,
    ):
        super().__init__(model)
        self.gamma, self.beta = gamma, beta
        own, other = (shapes(net, model.size).maps for net in (model, teacher))
        widths = [(own[a].channels, other[b].channels) for a, b in pairs(own, other)]
        self.means: Any = nn.ModuleList(_regressor(*pair) for pair in widths)
        first = log(expm1(FIRST - LEAST))
        self.spreads: Any = nn.ParameterList(torch.full((wide,), first) for _, wide in widths)
        self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        stages = zip(self.means, self.spreads, paired(student.stages, teacher.stages))
        unlikely = total(
            gaussian_likelihood(mean(f), F.softplus(spread) + LEAST, t)
            for mean, spread, (f, t) in stages
        )
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "information": self.beta * unlikely,
        }


def _regressor(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(outside, outside, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(outside, outside, 1, bias=False),
    )
