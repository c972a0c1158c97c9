from typing import Any

import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import normalised_hint, total
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.connector import pairs, shapes
from cohobate.modules.paired import paired


class NFD(Method[Classifier]):
    """The student's maps are to be the teacher's, but for how large they are.

    Liu et al., "Normalized Feature Distillation for Semantic Segmentation", 2022,
    https://arxiv.org/abs/2207.05256. With N the map with each channel of each image standardised
    over its pixels, and r a learned 1×1 convolution, L = gamma CE(s, y) +
    beta sum_l mean (N(r(F_l)) - N(T_l))² over the stages that meet.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    gamma: weight of the cross-entropy.
    beta: weight of the normalised error; ours: at 1, its gradient begins at a third of the
        cross-entropy's in new networks at 32 pixels.

    Differs from the paper: it is for segmentation, with other weights; here all stages that meet
    take part, and the convolution is there for equal widths too. Of two maps that meet, the larger is
    averaged down to the size of the other first. Of a map of one pixel nothing is left.
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
        met = [(own[a], other[b]) for a, b in pairs(own, other)]
        if all(min(f.height, t.height) * min(f.width, t.width) == 1 for f, t in met):
            raise ValueError(
                f"of {model.spec['arch']!r} and its teacher {teacher.name!r}, no two maps"
                " that meet have more than one pixel, and one alone cannot be normalised: choose a"
                " larger data.size, or another method, such as fitnet"
            )
        self.layers: Any = nn.ModuleList(
            nn.Conv2d(f.channels, t.channels, 1, bias=False) for f, t in met
        )
        self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        stages = zip(self.layers, paired(student.stages, teacher.stages))
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "feature": self.beta * total(normalised_hint(r(f), t) for r, (f, t) in stages),
        }
