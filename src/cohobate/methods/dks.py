from itertools import permutations

import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, total
from cohobate.models import Classifier
from cohobate.modules import Exits


class DKS(Method[Classifier]):
    """Classifiers on all stages of a network learn from each other, two by two, up and down.

    Sun et al., "Deeply-supervised Knowledge Synergy", CVPR 2019,
    https://arxiv.org/abs/1906.00675. With the logits z_1, ..., z_K of a branch on every stage but
    the last and of the network's end z_K:
    L = CE(z_K, y) + alpha sum_{i<K} CE(z_i, y) + beta sum_{i != j} KL_T(z_i <- sg z_j).

    alpha: weight of the branches' cross-entropy.
    beta: weight of the synergy, the KL terms of all ordered pairs.
    temperature: softens both sides of every KL term, T; Self-KD-Lib
        (https://github.com/winycg/Self-KD-Lib) takes 4.

    Differs from the paper: there is a branch on every stage, the first as well, each a copy of all
    remaining stages, and a generic one where a network is no chain of stages (transformers).
    """

    def __init__(
        self,
        model: Classifier,
        *,
        alpha: Weight = 1.0,
        beta: Weight = 1.0,
        temperature: Positive = 1.0,
    ):
        super().__init__(model)
        self.exits = Exits(model)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        logits, _ = self.exits(trace.stages)
        label, T = batch.labels(self.model.num_classes), self.temperature
        pairs = permutations([*logits, trace.logits], 2)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "branch_ce": self.alpha * total(F.cross_entropy(z, label) for z in logits),
            "synergy": self.beta * total(kl(a, b, T) for a, b in pairs),
        }
