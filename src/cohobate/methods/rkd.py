import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import relational_angles, relational_distances
from cohobate.models import Classifier
from cohobate.modules import Frozen


class RKD(Method[Classifier]):
    """The images of a batch are to form the same figure in the student's space as in the teacher's.

    Park et al., "Relational Knowledge Distillation", CVPR 2019,
    https://arxiv.org/abs/1904.05068, section 3.2. L = gamma CE(s, y) + beta [distance
    l(d_s, d_t) + angle l(a_s, a_t)] with l the smooth L1 loss, d the distances of the embeddings
    over their mean, and a the cosines of the angles of all triangles of them; weights as in
    RepDistiller (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    distance: weight of the distances within the term.
    angle: weight of the angles within the term. Angles keep numbers in the cube of the batch.
    gamma: weight of the cross-entropy.
    beta: weight of the term as a whole.
    """

    min_batch_size = 3  # two images make one distance, which is its own mean, and no triangle

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        distance: Weight = 25.0,
        angle: Weight = 50.0,
        gamma: Weight = 1.0,
        beta: Weight = 1.0,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.distance, self.angle = distance, angle
        self.gamma, self.beta = gamma, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        own, other = student.embedding, teacher.embedding
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "distance": self.beta * self.distance * relational_distances(own, other),
            "angle": self.beta * self.angle * relational_angles(own, other),
        }
