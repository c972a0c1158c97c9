from typing import Literal

import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, mean_discrepancy
from cohobate.models import Classifier


class DDGSD(Method[Classifier]):
    """Two augmented views of an image teach each other, and their features are to agree on average.

    Xu and Liu, "Data-Distortion Guided Self-Distillation for Deep Neural Networks", AAAI 2019,
    https://doi.org/10.1609/aaai.v33i01.33015565. With logits z_1, z_2 and embeddings f_1, f_2 of
    the views, which pass the network at once,
    L = gamma CE + alpha [KL_T(z_1 <- sg z_2) + KL_T(z_2 <- sg z_1)] + beta |mean f_1 - mean f_2|²,
    where CE is the mean over both views and the means are vectors, over the batch.

    temperature: softens both sides of the KL terms, T.
    gamma: weight of the cross-entropy.
    alpha: weight of the KL terms.
    beta: weight of the distance of the mean embeddings, a maximum mean discrepancy.
    variant: "released" takes the mean over the components, too, as Self-KD-Lib does: a number for
        each view, which hardly differ, so that the term does next to nothing.

    Differs from the paper: the weights and the temperature are those of Self-KD-Lib
    (https://github.com/winycg/Self-KD-Lib), since the paper's were not at hand.
    """

    views = 2

    def __init__(
        self,
        model: Classifier,
        *,
        temperature: Positive = 4.0,
        gamma: Weight = 0.5,
        alpha: Weight = 1.0,
        beta: Weight = 5e-4,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.temperature, self.variant = temperature, variant
        self.gamma, self.alpha, self.beta = gamma, alpha, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs.transpose(0, 1).flatten(0, 1))
        first, second = trace.logits.chunk(2)
        features = trace.embedding.float()
        if self.variant == "released":
            features = features.mean(1, keepdim=True)
        label = batch.labels(self.model.num_classes).repeat(2, 1)
        T = self.temperature
        return {
            "ce": self.gamma * F.cross_entropy(trace.logits, label),
            "mutual": self.alpha * (kl(first, second, T) + kl(second, first, T)),
            "mmd": self.beta * mean_discrepancy(*features.chunk(2)),
        }
