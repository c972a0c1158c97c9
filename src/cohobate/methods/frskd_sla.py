from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import kl, total
from cohobate.models import Classifier
from cohobate.modules import PyramidTeacher, rotation
from cohobate.modules.distance import BETAS, distance, weigh
from cohobate.modules.ramp import Ramp


class FRSKDSLA(Method[Classifier]):
    """FRSKD whose network and self-teacher both tell rotations as well, and learn from all four.

    Ji et al., "Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
    Distillation", CVPR 2021, https://arxiv.org/abs/2103.08273: FRSKD+SLA there, with the label
    augmentation of Lee et al., ICML 2020, https://arxiv.org/abs/1910.05872. B images and their 4B rotations pass network and self-teacher
    one after the other. With logits z and t of the images, joint logits q_z and q_t of the
    rotations and their aggregates a_z and a_t:
    L = CE(z) + CE(t) + CE(q_z) + CE(q_t) + gamma [KL_T(z <- sg a_z) + KL_T(t <- sg a_t)]
    + alpha KL_T([z, a_z] <- sg [t, a_t]) + beta sum_i D(F_i, sg T_i) over all 5B maps.
    The plain network, z, is deployed.

    width, constant, depth: of the self-teacher, as in `frskd`.
    temperature: softens both sides of every KL term, T.
    alpha: weight of the self-teacher's predictions, as in `frskd`.
    beta: weight of the feature term, as in `frskd`; left away, that of the distance.
    feature: the distance D of maps, as in `frskd`.
    ramp_start, ramp_end: shares of the epochs between which alpha and beta rise, as in `frskd`.
    gamma: weight of the aggregates' teaching; `aux_lamb` in the authors' README.

    Differs from the paper: this is the authors' code; the paper's text gives no formula.
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
        gamma: Weight = 1.0,
    ):
        super().__init__(model)
        self.temperature, self.alpha, self.gamma = temperature, alpha, gamma
        self.beta = BETAS[feature] if beta is None else beta
        self.ramp = Ramp(ramp_start, ramp_end)
        self.self_teacher = PyramidTeacher(model, width=width, depth=depth, constant=constant)
        self.distance = distance(feature, self.self_teacher)
        classes = rotation.ROTATIONS * model.num_classes
        self.joint_student = nn.Linear(model.net.head_hidden_size, classes)
        self.joint_teacher = nn.Linear(self.self_teacher.bifpn.widths[-1], classes)

    @classmethod
    def complete(cls, options: dict[str, Any]) -> dict[str, Any]:
        return weigh(options)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images, T, count = batch.inputs, self.temperature, self.model.num_classes
        plain, turned = self.model.trace(images), self.model.trace(rotation.rotate(images))
        teacher, turned_teacher = self.self_teacher(plain.stages), self.self_teacher(turned.stages)
        q_z = self.joint_student(turned.embedding).float()
        q_t = self.joint_teacher(turned_teacher.embedding).float()
        z, t = plain.logits, teacher.logits
        a_z, a_t = rotation.aggregate(q_z, count), rotation.aggregate(q_t, count)
        label = batch.labels(count)
        joint_label = rotation.joint_labels(label)
        rise = self.ramp(progress)
        losses = {
            "ce": F.cross_entropy(z, label),
            "teacher_ce": F.cross_entropy(t, label),
            "joint": total(F.cross_entropy(q, joint_label) for q in (q_z, q_t)),
            "aggregate": self.gamma * (kl(z, a_z, T) + kl(t, a_t, T)),
            "kd": rise * self.alpha * kl(torch.cat([z, a_z]), torch.cat([t, a_t]), T),
        }
        if self.distance is not None:
            maps = [torch.cat(pair) for pair in zip(plain.stages, turned.stages)]
            pairs = zip(teacher.stages, turned_teacher.stages)
            target = [torch.cat(pair).detach() for pair in pairs]
            losses["feature"] = rise * self.beta * self.distance(maps, target)
        return losses
