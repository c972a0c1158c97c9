from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import hint, kl, total
from cohobate.models import Classifier
from cohobate.modules import Discriminator, Exits, mixing


class MixSKD(Method[Classifier]):
    """The prediction of a mixture and the mixture of predictions teach each other.

    Yang et al., "MixSKD: Self-Knowledge Distillation from Mixup for Image Recognition", ECCV 2022,
    https://arxiv.org/abs/2208.05768. The images and their mixtures pass the network together;
    auxiliary branches on the earlier stages give as many maps and predictions as there are stages.

    alpha: both parameters of the Beta distribution that draws the mixing weight, one a batch.
    temperature: softens both sides of every KL term, T.
    feature: weight of the squared difference of maps, beta.
    discriminator: weight of telling mixed maps from maps of mixtures, gamma.
    mutual: weight of the KL terms between the heads and with the self-teacher, mu.
    self_teacher_norm: batch norm and ReLU after the self-teacher's 1 × 1 convolution, which
        keeps its scale from running away; the paper's self-teacher is linear.
    variant: "released" computes what the released CIFAR script does: the cross-entropy of
        mixtures is logged and not trained, so the self-teacher stays as it was initialised, and
        so do the discriminators, which were never handed to the optimiser.

    Differs from the paper: networks that are no chain of stages (transformers) get generic
    branches in the place of copies of their remaining stages.
    """

    mixes = True

    def __init__(
        self,
        model: Classifier,
        *,
        alpha: Positive = 0.4,
        temperature: Positive = 3.0,
        feature: Weight = 1.0,
        discriminator: Weight = 1.0,
        mutual: Weight = 1.0,
        self_teacher_norm: bool = False,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.mix = mixing.Mixup(alpha=alpha)
        self.temperature, self.variant = temperature, variant
        self.feature, self.discriminator, self.mutual = feature, discriminator, mutual
        self.exits = Exits(model)
        width, count = model.stages[-1].channels, len(model.stages)
        self.self_teacher = SelfTeacher(width, count, model.num_classes, norm=self_teacher_norm)
        self.discriminators: Any = nn.ModuleList(Discriminator(width) for _ in range(count))
        if variant == "released":
            self.self_teacher.requires_grad_(False)
            self.discriminators.requires_grad_(False)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        mix = batch.mix
        if mix is None:
            raise ValueError("mixskd needs a mixture: call it with `method.mixed(batch)`")
        trace = self.model.trace(torch.cat([batch.images, mix.blend(batch.images)]))
        logits, features = self.exits(trace.stages)
        plain, inner = _halves([*logits, trace.logits])
        plain_f, inner_f = _halves([*features, trace.stages[-1]])
        outer = [mix.blend(z) for z in plain]  # the mixture of two predictions,
        outer_f = [mix.blend(f) for f in plain_f]  # against `inner`: the prediction of a mixture
        outer_all, inner_all = self.self_teacher(outer_f), self.self_teacher(inner_f)
        label, T = batch.labels(self.model.num_classes), self.temperature
        mixed_ce = total(F.cross_entropy(z, label) for z in (*inner, inner_all, outer_all))
        telling = zip(self.discriminators, outer_f, inner_f)
        pairs = list(zip(outer[:-1], inner[:-1]))
        teaching = kl(outer[-1], inner_all, T) + kl(inner[-1], outer_all, T)
        return {
            "ce": total(F.cross_entropy(z, batch.targets) for z in plain),
            "mixed_ce": mixed_ce if self.variant == "paper" else mixed_ce.detach(),
            "feature": self.feature * total(hint(a, b) for a, b in zip(outer_f, inner_f)),
            "discriminator": self.discriminator * total(d.loss(a, b) for d, a, b in telling),
            "mutual": self.mutual * total(kl(a, b, T) + kl(b, a, T) for a, b in pairs),
            "self_teacher": self.mutual * teaching,
        }


class SelfTeacher(nn.Module):
    """One prediction of the maps of all heads: concatenated, a 1 × 1 convolution, pooled, linear.

    Takes `count` maps (B, channels, H, W); gives logits (B, num_classes).
    """

    def __init__(self, channels: int, count: int, num_classes: int, *, norm: bool = False):
        super().__init__()
        self.fuse = nn.Sequential(nn.Conv2d(count * channels, channels, 1, bias=False))
        if norm:
            self.fuse.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.classifier(self.fuse(torch.cat(tuple(features), 1)).mean((2, 3))).float()


def _halves(values: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The rows of the images, and the rows of their mixtures, of each value."""
    pairs = [value.chunk(2) for value in values]
    return [a for a, _ in pairs], [b for _, b in pairs]
