import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl
from cohobate.models import Classifier
from cohobate.modules import rotation


class SLASD(Method[Classifier]):
    """What a joint classifier says of four rotations of an image teaches a plain one that sees one.

    Lee et al., "Self-supervised Label Augmentation via Input Transformations", ICML 2020,
    https://arxiv.org/abs/1910.05872, self-distillation from aggregation (SLA+SD). With
    joint logits q of the 4B rotations, their aggregate a and plain logits z of the upright images:
    L = CE(q, 4y + r) + KL_T(z <- sg a) + beta CE(z, y).
    The deployed network is the plain classifier; the joint one is a linear layer beside it.

    joint: weight of the joint cross-entropy; 4 makes it the sum over rotations, as the authors
        advise for data like ImageNet.
    beta: weight of the plain classifier's cross-entropy; the paper sets it to 0 or 1.
    temperature: softens both sides of the KL term, T.

    Differs from the paper: a mixed image is mixed first and then turned.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        joint: Weight = 1.0,
        beta: Weight = 1.0,
        temperature: Positive = 1.0,
    ):
        super().__init__(model)
        self.joint, self.beta, self.temperature = joint, beta, temperature
        classes = rotation.ROTATIONS * model.num_classes
        self.joint_classifier = nn.Linear(model.net.head_hidden_size, classes)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        count = self.model.num_classes
        trace = self.model.trace(rotation.rotate(batch.inputs))
        upright = trace.logits[:: rotation.ROTATIONS]
        joint = self.joint_classifier(trace.embedding).float()
        label = batch.labels(count)
        return {
            "joint": self.joint * F.cross_entropy(joint, rotation.joint_labels(label)),
            "kd": kl(upright, rotation.aggregate(joint, count), self.temperature),
            "ce": self.beta * F.cross_entropy(upright, label),
        }
