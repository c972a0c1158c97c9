import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import probabilistic_transfer
from cohobate.models import Classifier
from cohobate.modules import Frozen


class PKT(Method[Classifier]):
    """Whom an image of the batch would choose as its neighbour is to be the same for both networks.

    Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer",
    ECCV 2018,
    https://arxiv.org/abs/1803.10837, section 3. With p_ij the similarity (1 + cos) / 2 of
    embeddings i and j, over its sum over j, L = gamma CE(s, y) + beta mean_ij p_t log(p_t / p_s),
    as RepDistiller has it (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    gamma: weight of the cross-entropy.
    beta: weight of the divergence, which is small, as a mean over B².

    Differs from the paper: the labels are learned along with it, and the divergence is a mean, as
    in RepDistiller.
    """

    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        gamma: Weight = 1.0,
        beta: Weight = 30_000.0,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.gamma, self.beta = gamma, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        gap = probabilistic_transfer(student.embedding, teacher.embedding)
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "affinity": self.beta * gap,
        }
