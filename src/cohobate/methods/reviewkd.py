from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Count, Epochs, Losses, Method, Progress, Weight
from cohobate.losses import hierarchical_context, total
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.connector import Shape, pairs, shapes
from cohobate.modules.ramp import warm_up
from cohobate.modules.taps import before_activation, tapped


class ReviewKD(Method[Classifier]):
    """Every stage of the teacher's is answered for by the student's and all deeper ones, fused.

    Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021,
    https://arxiv.org/abs/2104.09044, section 3. L = CE(z, y) + w beta sum_i HCL(U_i, F_i^T):
    from the embedding, a map of one pixel, up to the first stage, U_i is made of F_i and of what
    the fusion of stage i + 1 left, weighed pixel by pixel by attention; HCL is the squared error of
    maps and of their averages over 4 × 4, 2 × 2 and 1 × 1 parts; w rises linearly to 1.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    beta: weight of the review term; 5 is that of the paper's pair of ResNet-32x4 and ResNet-8x4.
    warmup: epochs in which w rises, half of all at most.
    width: most channels that maps are fused in; else those of the student's embedding.

    Differs from the paper: the teacher's maps are read before the last ReLU of each stage in the
    `cifar_` networks that have one there, as mdistiller reads them
    (https://github.com/megvii-research/mdistiller), and as they are tapped elsewhere. Where one
    network has more stages, evenly spaced ones of them take part.
    """

    min_batch_size = 2  # the embedding is normalised over the batch alone

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        beta: Weight = 5.0,
        warmup: Epochs = 20,
        width: Count = 512,
    ):
        super().__init__(model)
        mine, theirs = shapes(model, model.size), shapes(teacher, model.size)
        self.pairs = pairs(mine.maps, theirs.maps)[::-1]
        width = min(width, mine.embedding)
        self.first = Fusion(mine.embedding, width, Shape(theirs.embedding, 1, 1), alone=True)
        self.others: Any = nn.ModuleList(
            Fusion(mine.maps[s].channels, width, theirs.maps[t]) for s, t in self.pairs
        )
        self.note = f"maps: the teacher's {tapped(teacher)}"
        self.teacher = Frozen(teacher)
        self.beta, self.warmup = beta, warmup

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace = self.model.trace(images)
        with torch.no_grad():
            target = before_activation(self.teacher.net, images)
        guess, left = self.first(trace.embedding[:, :, None, None])
        terms = [hierarchical_context(guess, target.embedding[:, :, None, None])]
        for fusion, (s, t) in zip(self.others, self.pairs):
            guess, left = fusion(trace.stages[s], left)
            terms.append(hierarchical_context(guess, target.stages[t]))
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "review": warm_up(progress, self.warmup) * self.beta * total(terms),
        }


class Fusion(nn.Module):
    """Attention based fusion: a map (B, C, H, W), joined by what deeper ones left (B, width, h, w).

    target: the shape of what the first output is to be. alone: there are no deeper ones.
    """

    def __init__(self, channels: int, width: int, target: Shape, *, alone: bool = False):
        super().__init__()
        self.size = target[1:]
        self.enter = _convolution(channels, width, 1)
        self.leave = _convolution(width, target.channels, 3)
        self.weigh = None if alone else nn.Conv2d(2 * width, 2, 1)

    def forward(self, maps: Tensor, deeper: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A guess of the teacher's map, and what is left for the next shallower stage."""
        maps = self.enter(maps)
        if self.weigh is not None and deeper is not None:
            deeper = F.interpolate(deeper, size=maps.shape[-2:], mode="nearest")
            share = self.weigh(torch.cat([maps, deeper], 1)).sigmoid()
            maps = maps * share[:, :1] + deeper * share[:, 1:]
        if maps.shape[-2:] != self.size:
            maps = F.interpolate(maps, size=self.size, mode="nearest")
        return self.leave(maps), maps


def _convolution(inside: int, outside: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outside))
