import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import kl
from cohobate.models import Classifier
from cohobate.modules import Frozen


class TfKDSelf(Method[Classifier]):
    """A network's frozen twin, trained before in the plain way, teaches it from the start.

    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020,
    https://arxiv.org/abs/1909.11723, section 5: Tf-KD by self-training.
    L = (1 - alpha) CE(z, y) + alpha m KL_T(z <- t).

    teacher: a trained network of the same architecture; both see the same, equally mixed, images.
    temperature: softens both predictions, T.
    alpha: weight of the distillation term, which carries the factor T².
    multiplier: a further weight of that term, m. The defaults are those of the authors' file for
        a ResNet-18 on CIFAR-100
        (https://github.com/yuanli2333/Teacher-free-Knowledge-Distillation), whose 50 on a mean
        over classes is 0.5 on a sum over 100 of them.
    """

    recalls = "top"

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 6.0,
        alpha: Share = 0.95,
        multiplier: Weight = 0.5,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.alpha, self.multiplier = temperature, alpha, multiplier

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        logits = self.model(images)
        label = batch.labels(self.model.num_classes)
        taught = kl(logits, self.teacher.of(batch, images), self.temperature)
        return {
            "ce": (1 - self.alpha) * F.cross_entropy(logits, label),
            "kd": self.alpha * self.multiplier * taught,
        }
