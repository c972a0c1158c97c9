import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl
from cohobate.models import Classifier


class CSKD(Method[Classifier]):
    """What the network says of another image of the class is the target for this one.

    Yun et al., "Regularizing Class-wise Predictions via Self-knowledge Distillation", CVPR 2020,
    https://arxiv.org/abs/2003.13964, equations 1 and 2. With z' the logits of another image of the
    same class, L = CE(z, y) + alpha KL_T(z <- sg z'). As in the authors' code, these images pass the
    network in a batch of their own, without gradient and in train mode: batch norms see them.

    temperature: softens both sides of the KL term, T.
    alpha: weight of the KL term; 1 for CIFAR-100 and TinyImageNet, 3 for fine-grained sets.

    Differs from the paper: an image is never its own partner, unless it is alone in its class. A
    mixed image has as its partner the same mixture of the partners of both.
    """

    companions = 1

    def __init__(self, model: Classifier, *, temperature: Positive = 4.0, alpha: Weight = 1.0):
        super().__init__(model)
        self.temperature, self.alpha = temperature, alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        anchors, partners = batch.inputs.chunk(2)
        logits = self.model(anchors)
        with torch.no_grad():
            target = self.model(partners)
        label = batch.labels(self.model.num_classes)[: len(anchors)]
        return {
            "ce": F.cross_entropy(logits, label),
            "class_wise": self.alpha * kl(logits, target, self.temperature),
        }
