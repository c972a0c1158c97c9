import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import attention_transfer, total
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.paired import paired


class AT(Method[Classifier]):
    """Student and teacher are to look at the same places.

    Zagoruyko and Komodakis, "Paying More Attention to Attention: Improving the Performance of
    Convolutional Neural Networks via Attention Transfer", ICLR 2017,
    https://arxiv.org/abs/1612.03928, section 3.1. With phi(F) the mean over channels of F², of unit
    norm over the pixels, L = gamma CE(s, y) + beta sum_l mean (phi(F_l) - phi(T_l))² over the
    stages that meet, as RepDistiller has it (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    gamma: weight of the cross-entropy.
    beta: weight of attention transfer. The mean falls as the number of pixels grows: 1000 is for
        images of 32 pixels.

    Differs from the paper: the mean of squares, not the norm, of the difference, as in
    RepDistiller. Of two maps that meet, the larger is
    averaged down to the size of the other first.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        gamma: Weight = 1.0,
        beta: Weight = 1000.0,
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
            "attention": self.beta * total(attention_transfer(f, t) for f, t in maps),
        }
