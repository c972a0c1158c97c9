import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import similarity_preserving
from cohobate.models import Classifier
from cohobate.modules import Frozen


class SP(Method[Classifier]):
    """Images that are alike to the teacher are to be alike to the student.

    Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019,
    https://arxiv.org/abs/1907.09682, section 3. With F the last map as (B, N), and G the rows of
    F F^T over their norms, L = gamma CE(s, y) + beta |G_s - G_t|² / B², as RepDistiller has it
    (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images. Their
        maps may differ in size and width.
    gamma: weight of the cross-entropy.
    beta: weight of the similarities.
    """

    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        gamma: Weight = 1.0,
        beta: Weight = 3000.0,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.gamma, self.beta = gamma, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        gap = similarity_preserving(student.stages[-1], teacher.stages[-1])
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "similarity": self.beta * gap,
        }
