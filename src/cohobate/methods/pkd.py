from typing import Any

import torch
from torch import Tensor, nn

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import pearson, total
from cohobate.models import Detector
from cohobate.modules import Frozen


class PKD(Method[Detector]):
    """Each channel of the student's pyramid is to rise and fall where the teacher's does.

    Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson Correlation
    Coefficient", NeurIPS 2022, https://arxiv.org/abs/2207.02039, section 3. With N each channel
    standardised over all places of the batch, and M of these, L = L_det + alpha sum_l mean_c
    1 / (2 M) |N(F_l^s) - N(F_l^t)|², which is 1 - r, Pearson's correlation of the two.

    teacher: the frozen network, a detector of any kind on the same classes.
    alpha: weight of each level; 6 for Faster R-CNN and 10 for RetinaNet in the authors' settings.

    Differs from the paper: where the student's pyramid is of another width than the teacher's, each level
    gets a learned 1 × 1 convolution. The levels of equal stride meet, five of them where there are as
    many; the authors' settings name four.
    """

    tasks = ("detection",)

    def __init__(self, model: Detector, *, teacher: Detector, alpha: Weight = 6.0):
        super().__init__(model)
        self.alpha = alpha
        own, other = (net.backbone.strides for net in (model, teacher))
        self.met = [(own.index(each), other.index(each)) for each in own if each in other]
        if not self.met:
            strides = [", ".join(map(str, each)) for each in (own, other)]
            raise ValueError(
                f"the levels of {model.spec['arch']!r} have strides {strides[0]}, and those of its"
                f" teacher {teacher.spec['arch']!r} {strides[1]}: none meet; choose networks whose stages"
                " are of like resolution"
            )
        alike = model.width == teacher.width
        self.layers: Any = nn.ModuleList(
            nn.Identity() if alike else nn.Conv2d(model.width, teacher.width, 1) for _ in self.met
        )
        self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        answer = self.model.answer(batch)
        with torch.no_grad():
            levels = self.teacher.net.backbone(batch.images)
        met = zip(self.layers, self.met)
        pairs = [(layer(answer.levels[own]), levels[other]) for layer, (own, other) in met]
        unlike = total(pearson(_channels(a), _channels(b)) for a, b in pairs)
        return {**answer.losses, "feature": self.alpha * unlike}


def _channels(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) as a row (B * H * W) for each channel."""
    return maps.transpose(0, 1).flatten(1)
