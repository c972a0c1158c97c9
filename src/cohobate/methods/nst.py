import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import neuron_selectivity, total
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.paired import paired


class NST(Method[Classifier]):
    """The student's channels are to like the same places as the teacher's, whichever likes which.

    Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017,
    https://arxiv.org/abs/1707.01219. L = gamma CE(s, y) + beta sum_l MMD²(F_l,
    T_l) over the stages that meet: the squared maximum mean discrepancy of their channels, each of
    unit norm over the pixels, with the kernel (x·y)². As RepDistiller has it
    (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    gamma: weight of the cross-entropy.
    beta: weight of the discrepancy; the paper writes beta / 2.

    Differs from the paper: all stages that meet take part, as in RepDistiller. Of two maps that
    meet, the larger is averaged down to the size of the other first.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        gamma: Weight = 1.0,
        beta: Weight = 50.0,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.gamma, self.beta = gamma, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        maps = paired(student.stages, teacher.stages)
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "selectivity": self.beta * total(neuron_selectivity(f, t) for f, t in maps),
        }
