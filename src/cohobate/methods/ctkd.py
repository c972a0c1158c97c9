from math import pi

import torch
import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Epochs, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.ramp import warm_up


class CTKD(Method[Classifier]):
    """The temperature is learnt against the student: it moves so as to make distillation harder.

    Li et al., "Curriculum Temperature for Knowledge Distillation", AAAI 2023,
    https://arxiv.org/abs/2211.16231. L = gamma CE(s, y) + alpha KL_T(s <- t), with one temperature
    for all images, T = lowest + span sigmoid(u). u, 1 at the start, gets -lambda times its gradient,
    where lambda = (1 - cos(pi min((e + 1) / loops, 1))) / 2 rises from 0 to 1 with the epochs e,
    counted from zero.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    gamma: weight of the cross-entropy.
    alpha: weight of the distillation term, which carries the factor T².
    lowest, span: T lies between `lowest` and `lowest` + `span`.
    loops: epochs in which lambda rises, half of all at most.

    Differs from the paper: it has the global temperature alone, not one for each image.
    """

    recalls = "all"  # the temperature follows from all classes, and is high

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        gamma: Weight = 0.1,
        alpha: Weight = 0.9,
        lowest: Positive = 1.0,
        span: Weight = 20.0,
        loops: Epochs = 10,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.gamma, self.alpha = gamma, alpha
        self.lowest, self.span, self.loops = lowest, span, loops
        self.hardness = nn.Parameter(torch.ones(()))

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        logits, teacher = self.model(images), self.teacher.of(batch, images)
        strength = (1 - torch.cos(pi * warm_up(progress, self.loops))) / 2
        here = self.hardness.detach()
        hardness = here + strength * (here - self.hardness)  # here, its gradient times -strength
        temperature = self.lowest + self.span * hardness.sigmoid()
        return {
            "ce": self.gamma * F.cross_entropy(logits, batch.labels(self.model.num_classes)),
            "kd": self.alpha * kl(logits, teacher, temperature),
        }
