from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, map_errors
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.connector import resized, shapes


class SemCKD(Method[Classifier]):
    """Every stage learns from all of the teacher's, most from those that attention finds akin.

    Chen et al., "Cross-Layer Distillation with Semantic Calibration", AAAI 2021,
    https://arxiv.org/abs/2012.03236, section 3. L = CE(z, y) + alpha KL_T(z <- t) + beta
    mean over images b and student stages s of sum_t a_bst mean (P_st(F_bs) - F_bt^T)²: a_bs is the
    softmax over the teacher's stages t of the products of unit vectors q_bs · k_bt, P_st a
    bottleneck of 1 × 1, 3 × 3 and 1 × 1 convolutions; the larger map is averaged to the smaller.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens both predictions, T.
    alpha: weight of the KL term, which carries the factor T².
    beta: weight of the feature term.
    width: numbers in a query q and in a key k, each of two layers.

    Differs from the paper: q and k are made of a map's means over the pixels. There they are made
    of its B similarities to the maps of the batch, which ties two layers to the number of images
    in a batch and to their places in it.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 4.0,
        alpha: Weight = 1.0,
        beta: Weight = 400.0,
        width: Count = 16,
    ):
        super().__init__(model)
        mine, theirs = (
            [f.channels for f in shapes(network, model.size).maps] for network in (model, teacher)
        )
        self.queries: Any = nn.ModuleList(_embedding(channels, width) for channels in mine)
        self.keys: Any = nn.ModuleList(_embedding(channels, width) for channels in theirs)
        self.projectors: Any = nn.ModuleList(
            nn.ModuleList(_projector(a, b) for b in theirs) for a in mine
        )
        self.teacher = Frozen(teacher)
        self.temperature, self.alpha, self.beta = temperature, alpha, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace, target = self.model.trace(images), self.teacher.trace(images)
        queries = [embed(f) for embed, f in zip(self.queries, trace.stages)]
        keys = [embed(f) for embed, f in zip(self.keys, target.stages)]
        products = torch.stack(queries, 1)[:, :, None] * torch.stack(keys, 1)[:, None]
        attention = F.softmax(products.float().sum(-1), -1)
        rows = [
            torch.stack([_error(p, f, g) for p, g in zip(projectors, target.stages)], -1)
            for projectors, f in zip(self.projectors, trace.stages)
        ]
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "kd": self.alpha * kl(trace.logits, target.logits, self.temperature),
            "feature": self.beta * (attention * torch.stack(rows, 1)).sum(-1).mean(),
        }


class Unit(nn.Module):
    """Rows (B, n) of unit norm, in float32."""

    def forward(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.float())


def _embedding(channels: int, width: int) -> nn.Sequential:
    """From a map (B, C, H, W) to a unit vector (B, width)."""
    layers = (nn.Linear(channels, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers, Unit())


def _projector(inside: int, outside: int) -> nn.Sequential:
    """1 × 1, 3 × 3 and 1 × 1 convolutions, through twice as many channels as come out."""
    middle = 2 * outside
    return nn.Sequential(
        *(nn.Conv2d(inside, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
        *(nn.Conv2d(middle, middle, 3, 1, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
        nn.Conv2d(middle, outside, 1, bias=False),
    )


def _error(projector: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """The error (B,) of a student's map, projected, in the size of the smaller of both."""
    height, width = min(student.shape[-2:], teacher.shape[-2:])
    return map_errors(projector(resized(student, height, width)), resized(teacher, height, width))
