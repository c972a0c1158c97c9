from itertools import permutations
from typing import Annotated, Any

import torch.nn.functional as F
from annotated_types import Ge
from torch import nn

from cohobate.core import Batch, Losses, Method, Positive, Progress
from cohobate.losses import kl, total
from cohobate.models import Classifier
from cohobate.modules import AuxiliaryHeads
from cohobate.modules.rotation import ROTATIONS, joint_labels, rotate


class HSSAKD(Method[Classifier]):
    """Equal networks teach each other, stage by stage, what they see of class and rotation.

    Yang et al., "Knowledge Distillation Using Hierarchical Self-Supervision Augmented
    Distribution", TNNLS 2022, https://arxiv.org/abs/2109.03075: the online form of HSAKD.
    L = sum_n [CE(z_n, y) + sum_l CE(q_nl, 4y + r)] + sum over pairs n != m of
    [KL_T(z_n <- z_m) + sum_l KL_T(q_nl <- q_ml)]: the first term of the upright images, the
    others of all four rotations. The first network is the one that is deployed.

    peers: how many networks learn together; of more than two, each learns from the mean of the
        KL terms with all others.
    temperature: softens both sides of every KL term, T.

    Differs from the paper: the first network after the last epoch counts, not the better of the
    two on the test set. Networks that are no chain of stages (transformers) get generic branches
    in the place of copies of their stages, and so does the head after the last stage where that
    cannot be built once more: it can for the `cifar_` networks, and where it is a row of two blocks
    or more (timm's ResNets).
    """

    def __init__(
        self, model: Classifier, *, peers: Annotated[int, Ge(2)] = 2, temperature: Positive = 3.0
    ):
        super().__init__(model)
        self.peers: Any = nn.ModuleList(model.fresh() for _ in range(peers - 1))
        joint_classes = ROTATIONS * model.num_classes
        self.heads: Any = nn.ModuleList(
            AuxiliaryHeads(net, joint_classes) for net in (model, *self.peers)
        )
        self.temperature = temperature

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = rotate(batch.inputs)
        label = batch.labels(self.model.num_classes)
        joint_label, T = joint_labels(label), self.temperature
        traces = [net.trace(images) for net in (self.model, *self.peers)]
        logits = [trace.logits for trace in traces]
        joint = [heads(trace.stages) for heads, trace in zip(self.heads, traces)]
        others = len(self.peers)
        return {
            "ce": total(F.cross_entropy(z[::ROTATIONS], label) for z in logits),
            "joint": total(F.cross_entropy(q, joint_label) for qs in joint for q in qs),
            "joint_mutual": total(
                kl(a, b, T) for mine, theirs in permutations(joint, 2) for a, b in zip(mine, theirs)
            )
            / others,
            "mutual": total(kl(a, b, T) for a, b in permutations(logits, 2)) / others,
        }
