from typing import Literal

import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import entropy
from cohobate.models import Classifier


class MaxEntropy(Method[Classifier]):
    """Predictions are paid for being undecided.

    Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions",
    2017, https://arxiv.org/abs/1701.06548, section 3. L = CE(z, y) - beta H(p), with H the entropy
    of the prediction, so that the second term is negative.

    beta: weight of the entropy; 0.5 is Self-KD-Lib's (https://github.com/winycg/Self-KD-Lib), for
        CIFAR-100; the paper takes 0.1 for CIFAR-10.
    variant: "released" divides the entropy by the number of classes, as Self-KD-Lib's code does,
        where the mean runs over images and classes: of 100 classes a hundredth is left of it.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        beta: Weight = 0.5,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.beta = beta if variant == "paper" else beta / model.num_classes

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = self.model(batch.inputs)
        label = batch.labels(self.model.num_classes)
        return {"ce": F.cross_entropy(logits, label), "entropy": -self.beta * entropy(logits)}
