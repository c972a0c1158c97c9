from itertools import pairwise

import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Share, Weight
from cohobate.losses import attention_distillation, total
from cohobate.models import Classifier
from cohobate.modules.taps import check_stages


class SAD(Method[Classifier]):
    """Every stage looks where the next one looks.

    Hou et al., "Learning Lightweight Lane Detection CNNs by Self Attention Distillation",
    ICCV 2019, https://arxiv.org/abs/1908.00821, section 3. With A(F) the softmax over
    pixels of what is active in a map, the squares of its channels, the deeper one's resized before:
    L = CE(z, y) + gamma sum_i mean (A(F_i) - sg A(F_{i+1}))². Nothing is added to the network.

    gamma: weight of the attention term; 1000 is Self-KD-Lib's for CIFAR-100
        (https://github.com/winycg/Self-KD-Lib).
    start: share of the training that is over before the term counts. The paper adds it to a network
        that has learned to look; Self-KD-Lib has it from the beginning.

    Differs from the paper: this is Self-KD-Lib's port from lanes to classes, in which the squares
    are averaged over channels, not summed, and their differences over pixels. There the deeper map
    is resized before it is squared, here after, as in the paper.
    """

    def __init__(self, model: Classifier, *, gamma: Weight = 1000.0, start: Share = 0.0):
        super().__init__(model)
        check_stages(model)
        self.gamma, self.start = gamma, start

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        label = batch.labels(self.model.num_classes)
        gap = total(attention_distillation(a, b) for a, b in pairwise(trace.stages))
        begun = torch.as_tensor(progress.step) >= self.start * progress.steps
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "attention": self.gamma * torch.where(begun, gap, 0.0),
        }
