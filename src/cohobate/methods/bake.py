from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Lt

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, propagated, soft_kl
from cohobate.models import Classifier


class BAKE(Method[Classifier]):
    """The predictions of similar images of the batch, ensembled, are the target for each of them.

    Ge et al., "Self-distillation with Batch Knowledge Ensembling Improves ImageNet Classification",
    2021, https://arxiv.org/abs/2104.13298, section 3. With A the row-wise softmax of the cosine
    similarities of the embeddings, an image's own left out, and p = softmax(z / T),
    Q = (1 - omega) (I - omega A)^-1 p and L = CE(z, y) + alpha T² KL(sg Q || p), over all images.

    companions: images of the same class beside each anchor, M; every step is of M + 1 times as
        many images. 3 for CIFAR-100 and CUB-200, 1 for the other sets.
    temperature: softens both sides of the KL term, T.
    alpha: weight of the KL term.
    omega: share of the other images in a target; 0.5, or 0.9 for TinyImageNet, Stanford Dogs and
        MIT67.
    variant: "released" softens the target a second time, softmax(Q / T), as Self-KD-Lib does:
        nearly uniform then.

    Differs from the paper: the companions of an image are drawn one by one, so that one may be there
    twice. Each process ensembles its own images.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        companions: Annotated[int, Ge(0)] = 3,
        temperature: Positive = 4.0,
        alpha: Weight = 1.0,
        omega: Annotated[float, Ge(0), Lt(1)] = 0.5,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.companions, self.variant = companions, variant
        self.temperature, self.alpha, self.omega = temperature, alpha, omega

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        T = self.temperature
        target = propagated(trace.embedding, trace.logits, self.omega, T)
        distil = soft_kl if self.variant == "paper" else kl
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "ensemble": self.alpha * distil(trace.logits, target, T),
        }
