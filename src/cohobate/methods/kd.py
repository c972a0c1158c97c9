import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, standardised
from cohobate.models import Classifier
from cohobate.modules import Frozen


class KD(Method[Classifier]):
    """A frozen teacher's softened predictions beside the labels.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015,
    https://arxiv.org/abs/1503.02531, section 2. L = gamma CE(s, y) + alpha KL_T(s <- t), with the
    weights that RepDistiller made the custom (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens both predictions, T.
    gamma: weight of the cross-entropy.
    alpha: weight of the distillation term, which carries the factor T².
    standardise: divide the logits of both, row by row, by their deviation over the classes, in the
        distillation term alone: logit standardisation, https://arxiv.org/abs/2403.01427, with
        temperature 2 and alpha 9 there.
    """

    tasks = ("classification", "segmentation")

    recalls = "top"

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 4.0,
        gamma: Weight = 0.1,
        alpha: Weight = 0.9,
        standardise: bool = False,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.gamma, self.alpha = temperature, gamma, alpha
        self.standardise = standardise
        if standardise:
            self.recalls = "all"  # the deviation is that over all classes

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        logits, teacher = self.model(images), self.teacher.of(batch, images)
        label = batch.labels(self.model.num_classes)
        student = logits
        if self.standardise:
            student, teacher = standardised(logits), standardised(teacher)
        return {
            "ce": self.gamma * F.cross_entropy(logits, label),
            "kd": self.alpha * kl(student, teacher, self.temperature),
        }
