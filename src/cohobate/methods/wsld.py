import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import wsld
from cohobate.models import Classifier
from cohobate.modules import Frozen


class WSLD(Method[Classifier]):
    """An image counts less in distillation, the more the student is ahead of its teacher there.

    Zhou et al., "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
    Perspective", ICLR 2021,
    https://arxiv.org/abs/2102.00650. With w = 1 - exp(-CE(s, y) / CE(t, y)), which has no gradient,
    L = CE(s, y) + alpha T² mean_b w_b CE(s / T, softmax(t / T)).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens both predictions, T.
    alpha: weight of the distillation term. With T it is the authors' setting for CIFAR-100; theirs
        for ImageNet is temperature 2 and alpha 2.5.

    Differs from the paper: a mixed image is weighed with either label, by its share; and the weight
    is right where both are sure of the label, too, while the authors' code adds 1e-7 to CE(t, y).
    """

    recalls = "top"

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 4.0,
        alpha: Weight = 2.25,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.alpha = temperature, alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model(images), self.teacher.of(batch, images)
        distilled = batch.over_labels(
            lambda targets: wsld(student, teacher, targets, temperature=self.temperature)
        )
        return {
            "ce": F.cross_entropy(student, batch.labels(self.model.num_classes)),
            "kd": self.alpha * distilled,
        }
