import torch.nn.functional as F

from cohobate.core import Batch, Count, Losses, Method, Progress, Weight
from cohobate.losses import correlation_congruence
from cohobate.models import Classifier
from cohobate.modules import Embeddings, Frozen


class CC(Method[Classifier]):
    """Where the student's embeddings are off, they are not to be off in the same way twice.

    Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019,
    https://arxiv.org/abs/1904.01802. With learned linear embeddings e of both networks, and
    d_b = |e_s(x_b) - e_t(x_b)| of the rows of the batch, L = gamma CE(s, y) + beta mean_b
    d_b · d_b+1: what the author gave RepDistiller (https://github.com/HobbitLong/RepDistiller),
    where the published numbers of most comparisons are from.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    width: of the embeddings.
    gamma: weight of the cross-entropy.
    beta: weight of the correlation.

    Differs from the paper: it compares the matrices of a Gaussian kernel among the images of the
    batch, for student and teacher, and adds KD.
    """

    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        width: Count = 128,
        gamma: Weight = 1.0,
        beta: Weight = 0.02,
    ):
        super().__init__(model)
        self.gamma, self.beta = gamma, beta
        self.embeddings = Embeddings(model, teacher, model.size, width)
        self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        own, other = self.embeddings(student.embedding, teacher.embedding)
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "correlation": self.beta * correlation_congruence(own, other),
        }
