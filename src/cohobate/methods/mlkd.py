import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import between_classes, between_images, kl, standardised, total
from cohobate.models import Classifier
from cohobate.modules import Frozen


class MLKD(Method[Classifier]):
    """The teacher's predictions, and how they relate images and classes, at several temperatures.

    Jin et al., "Multi-Level Logit Distillation", CVPR 2023,
    https://doi.org/10.1109/CVPR52729.2023.02325. With P = softmax(z / T) of B images and C classes,
    L = gamma CE(s, y) + sum_T [instance KL_T(s <- t) + images |P_s P_s' - P_t P_t'|² / B +
    classes |P_s' P_s - P_t' P_t|² / C].

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperatures: those that the sum runs over, T.
    gamma: weight of the cross-entropy.
    instance, images, classes: weights of the three levels.
    standardise: divide the logits of both, row by row, by their deviation over the classes, in the
        instance's term alone: logit standardisation, https://arxiv.org/abs/2403.01427, where the
        levels weigh 9 and one of the temperatures, 4, is 2 instead.

    Differs from the paper: every image has one view, that of the run; the authors have a weak and a
    strong one, and the terms of both. All rows count in full; the authors' code scales the terms of
    the weak view by how many rows, or classes, lie at or below the median of the teacher's
    confidence, which is about a half.
    """

    recalls = "all"  # classes are compared with classes

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperatures: tuple[Positive, ...] = (2.0, 3.0, 4.0, 5.0, 6.0),
        gamma: Weight = 0.1,
        instance: Weight = 0.9,
        images: Weight = 0.9,
        classes: Weight = 0.9,
        standardise: bool = False,
    ):
        super().__init__(model)
        if not temperatures:
            raise ValueError("method.temperatures=[] leaves nothing to learn: give one or more")
        self.teacher = Frozen(teacher)
        self.temperatures, self.gamma, self.standardise = temperatures, gamma, standardise
        self.instance, self.images, self.classes = instance, images, classes

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        inputs = batch.inputs
        student, teacher = self.model(inputs), self.teacher.of(batch, inputs)
        pair = student, teacher
        scaled = (standardised(student), standardised(teacher)) if self.standardise else pair
        label = batch.labels(self.model.num_classes)
        return {
            "ce": self.gamma * F.cross_entropy(student, label),
            "instance": self.instance * total(kl(*scaled, T) for T in self.temperatures),
            "images": self.images * total(between_images(*pair, T) for T in self.temperatures),
            "classes": self.classes * total(between_classes(*pair, T) for T in self.temperatures),
        }
