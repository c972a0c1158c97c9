from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import kl
from cohobate.models import Classifier
from cohobate.modules import PyramidTeacher
from cohobate.modules.distance import BETAS, distance, weigh
from cohobate.modules.ramp import Ramp


class FRSKD(Method[Classifier]):
    """A small network on top refines the feature maps, and teaches its maps and predictions back.

    Ji et al., "Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
    Distillation", CVPR 2021, https://arxiv.org/abs/2103.08273. With maps F_i and logits z of the
    network, T_i and t of the self-teacher:
    L = CE(z) + CE(t) + alpha KL_T(z <- sg t) + beta sum_i D(F_i, sg T_i).
    The maps are not detached into the self-teacher: CE(t) trains the network, too. A batch that is
    mixed is mixed once, and all terms are of the mixture. The network alone is deployed.

    width: channels of the self-teacher for each of the network's.
    constant: channels of every level of the self-teacher, in the place of `width`; 256 is the
        paper's ablation, after EfficientDet's BiFPN.
    depth: separable convolutions in each of its nodes.
    temperature: softens both sides of the KL term, T.
    alpha: weight of the KL term; 2 is what the authors' README gives for CIFAR-100.
    beta: weight of the feature term; left away, that of the distance: 100 for attention, likewise
        published, and, ours, 2 for fitnet and 0.0002 for overhaul, whose distance is a sum over
        pixels: there the term's gradient begins at the order of the cross-entropy's.
    feature: the distance D of maps: attention transfer, FitNet's regression, the overhaul's
        regression with margins, or none (FRSKD\\F).
    ramp_start, ramp_end: shares of the epochs between which alpha and beta rise along
        exp(-5 (1 - t)²); before, they are zero. No rise for classification.
    variant: "released" computes what Self-KD-Lib's port of the method does: the KL term trains the
        self-teacher as well, for its target is not detached, and attention is of maps that were
        not rectified.

    Differs from the paper: resizing in the self-teacher is to the nearest, as in the authors' code
    (bilinear in the paper); the overhaul takes the network's maps as they are tapped, most of them
    after the ReLU, and its margins follow the self-teacher's batch norms as these learn, where the
    authors' code keeps those of the first step.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        width: Count = 2,
        constant: Count | None = None,
        depth: Count = 2,
        temperature: Positive = 4.0,
        alpha: Weight = 2.0,
        beta: Weight | None = None,
        feature: Literal["attention", "fitnet", "overhaul", "none"] = "attention",
        ramp_start: Share = 0.0,
        ramp_end: Share = 0.0,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.temperature, self.alpha, self.variant = temperature, alpha, variant
        self.beta = BETAS[feature] if beta is None else beta
        self.ramp = Ramp(ramp_start, ramp_end)
        self.self_teacher = PyramidTeacher(model, width=width, depth=depth, constant=constant)
        self.distance = distance(feature, self.self_teacher, rectified=variant == "paper")

    @classmethod
    def complete(cls, options: dict[str, Any]) -> dict[str, Any]:
        return weigh(options)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        student = self.model.trace(batch.inputs)
        teacher = self.self_teacher(student.stages)
        label = batch.labels(self.model.num_classes)
        teach = kl if self.variant == "paper" else _mutual_kl
        rise = self.ramp(progress)
        losses = {
            "ce": F.cross_entropy(student.logits, label),
            "teacher_ce": F.cross_entropy(teacher.logits, label),
            "kd": rise * self.alpha * teach(student.logits, teacher.logits, self.temperature),
        }
        if self.distance is not None:
            target = [maps.detach() for maps in teacher.stages]
            losses["feature"] = rise * self.beta * self.distance(student.stages, target)
        return losses


def _mutual_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`kl` with a gradient for the teacher as well."""
    log_p = F.log_softmax(teacher / temperature, 1)
    log_q = F.log_softmax(student / temperature, 1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
