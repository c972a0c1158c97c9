from typing import Any

import torch.nn.functional as F
from torch import nn

from cohobate.core import VOID, Batch, Losses, Method, Progress, Share, Weight
from cohobate.losses import attention_transfer, kl, total
from cohobate.models import Segmenter
from cohobate.models.decoders import HEAD, BiFPN, RefinedHead
from cohobate.models.segmenter import enlarged
from cohobate.modules.ramp import Ramp


class FRSKDSegmentation(Method[Segmenter]):
    """FRSKD for pixels: two more layers on the network's pyramid teach its levels and its pixels.

    Ji et al., "Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
    Distillation", CVPR 2021, https://arxiv.org/abs/2103.08273, section 4.2. With levels S_i and
    pixel logits z of the network, S'_i and t of the self-teacher:
    L = CE(z) + CE(t) + alpha KL(z <- sg t) + beta sum_i AT(S_i, sg S'_i), over all six levels.
    The network is one with `model.decoder="bifpn"`, and is deployed alone.

    alpha: weight of the KL term, of each pixel, at temperature 1.
    beta: weight of the attention transfer.
    ramp_start, ramp_end: shares of the epochs between which alpha and beta rise along
        exp(-5 (1 - t)²); before, they are zero. Of the published 60 epochs, 40 and 60.

    Differs from the paper: void pixels take no part in the KL term, which in the released code they
    do; its mean is over all pixels, void ones included, as it is there.
    """

    tasks = ("segmentation",)

    def __init__(
        self,
        model: Segmenter,
        *,
        alpha: Weight = 1.0,
        beta: Weight = 50.0,
        ramp_start: Share = 2 / 3,
        ramp_end: Share = 1.0,
    ):
        super().__init__(model)
        if not isinstance(model.decoder, BiFPN):
            raise ValueError(
                f"this method refines the pyramid of FRSKD's own network, and"
                f' model.decoder={model.spec["decoder"]} has another: set model.decoder="bifpn"'
            )
        self.alpha, self.beta = alpha, beta
        self.ramp = Ramp(ramp_start, ramp_end)
        self.self_teacher = RefinedHead(model.decoder)
        self.classifier: Any = nn.Conv2d(HEAD, model.num_classes, 1)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        model, images = self.model, batch.inputs
        levels, path = model.decoder.pyramid(model.features(images))
        student = model.classified(model.decoder.last(path[0]), images)
        own, refined, last = self.self_teacher(levels, path)
        teacher = enlarged(self.classifier(last), images, model.stages[-1].stride)
        label = batch.labels(model.num_classes)
        known = (batch.targets != VOID)[:, None]
        taught = total(attention_transfer(a, b) for a, b in zip(own, refined))
        rise = self.ramp(progress)
        return {
            "ce": F.cross_entropy(student, label),
            "teacher_ce": F.cross_entropy(teacher, label),
            "kd": rise * self.alpha * kl(student * known, teacher * known),
            "feature": rise * self.beta * taught,
        }
