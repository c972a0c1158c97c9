from itertools import permutations
from typing import Annotated, Any

import torch.nn.functional as F
from annotated_types import Ge
from torch import nn

from cohobate.core import Batch, Losses, Method, Positive, Progress
from cohobate.losses import kl, total
from cohobate.models import Classifier


class DML(Method[Classifier]):
    """Equal networks, new at the start, learn from the labels and from one another.

    Zhang et al., "Deep Mutual Learning", CVPR 2018,
    https://arxiv.org/abs/1706.00384, equations 5 to 9. With K networks,
    L = sum_n CE(z_n, y) + sum over pairs n != m of KL_T(z_n <- z_m) / (K - 1). The first network is
    the one that is deployed.

    peers: how many networks learn together, K.
    temperature: softens both sides of every KL term, T; 1 in the paper.

    Differs from the paper: the networks step together, from predictions of the same moment; there
    they step one after another, each with the newest predictions of the others.
    """

    tasks = ("classification", "segmentation")

    def __init__(
        self, model: Classifier, *, peers: Annotated[int, Ge(2)] = 2, temperature: Positive = 1.0
    ):
        super().__init__(model)
        self.peers: Any = nn.ModuleList(model.fresh() for _ in range(peers - 1))
        self.temperature = temperature

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images, label = batch.inputs, batch.labels(self.model.num_classes)
        logits = [net(images) for net in (self.model, *self.peers)]
        mutual = total(kl(a, b, self.temperature) for a, b in permutations(logits, 2))
        return {
            "ce": total(F.cross_entropy(z, label) for z in logits),
            "mutual": mutual / len(self.peers),
        }
