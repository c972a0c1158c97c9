import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import channel_wise
from cohobate.models import Segmenter
from cohobate.modules import Frozen


class CWD(Method[Segmenter]):
    """Where in the image each class is seen is learned from the teacher, class by class.

    Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021,
    https://arxiv.org/abs/2011.13256, equations 4 and 5. With phi the softmax of a class's logits / T
    over the pixels, L = CE(s, y) + alpha T² / C sum_c KL(phi(t_c) || phi(s_c)).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens both distributions over the pixels, T.
    alpha: weight of the distillation term, 3 for logits in the paper.

    Differs from the paper: of logits alone; there maps of features are distilled as well, and an
    adversarial loss is added in some experiments.
    """

    tasks = ("segmentation",)

    def __init__(
        self,
        model: Segmenter,
        *,
        teacher: Segmenter,
        temperature: Positive = 4.0,
        alpha: Weight = 3.0,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.alpha = temperature, alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        logits, target = self.model(images), self.teacher(images)
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(logits, label),
            "cwd": self.alpha * channel_wise(logits, target, self.temperature),
        }
