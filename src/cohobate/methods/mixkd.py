from math import exp, log, sqrt
from typing import Literal

import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import kl, standardised
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.mixing import CutMix, Mixup


class MIXKD(Method[Classifier]):
    """A frozen teacher and its student see a few mixtures among plain images, on rescaled logits.

    Choi et al., "Understanding the Role of Mixup in Knowledge Distillation: An Empirical Study",
    WACV 2023, https://arxiv.org/abs/2211.03946. With z' = z / std(z), row by row:
    L = gamma CE(s', y) + alpha KL_T(s' <- t'), both on the same, partly mixed, batch.

    teacher: the frozen network; trained plainly, or with `mixup` or `cutmix`.
    mixing: how two images become one; "none" leaves all as they are.
    beta: both parameters of the Beta distribution that draws the weights.
    share: fraction of the images that is mixed: 0 none, 1 all.
    per: one weight for each sample, or one for the whole batch.
    variant: "released" draws the unmixed rows with replacement, as the released code does: of 64
        rows 40.8 % are mixed at share 0.1.
    standardise: which terms see rescaled logits. The cross-entropy of rescaled logits cannot fall
        below log(1 + (C - 1) exp(-sqrt(C))): 0.005 for 100 classes, but 0.32 for 10. With few
        classes "kl" leaves it alone. "none" is plain KD on mixtures, as in the paper's studies.
    temperature: softens both predictions, T; 1 on rescaled logits, which need none.
    gamma: weight of the cross-entropy.
    alpha: weight of the distillation term, which carries the factor T².

    Differs from the paper: the share is exact, and the deviation is kept from zero.
    """

    recalls = "all"  # the deviation is that over all classes

    mixes = True

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        mixing: Literal["none", "mixup", "cutmix"] = "mixup",
        beta: Positive = 1.0,
        share: Share = 0.1,
        per: Literal["batch", "sample"] = "sample",
        variant: Literal["paper", "released"] = "paper",
        standardise: Literal["none", "kl", "both"] = "both",
        temperature: Positive = 1.0,
        gamma: Weight = 0.1,
        alpha: Weight = 0.9,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        if mixing != "none":
            kind = Mixup if mixing == "mixup" else CutMix
            self.mix = kind(alpha=beta, share=share, per=per, variant=variant)
        self.standardise = standardise
        if standardise == "none":
            self.recalls = "top"
        self.temperature, self.gamma, self.alpha = temperature, gamma, alpha
        floor = log(1 + (model.num_classes - 1) * exp(-sqrt(model.num_classes)))
        if standardise == "both" and floor > 0.05:
            self.note = (
                f"with {model.num_classes} classes the cross-entropy of rescaled logits cannot fall"
                f' below {floor:.2f}; method.standardise="kl" leaves it alone'
            )

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model(images), self.teacher.of(batch, images)
        label = batch.labels(self.model.num_classes)
        scaled = standardised(student)
        if self.standardise == "none":
            distilled = kl(student, teacher, self.temperature)
        else:
            distilled = kl(scaled, standardised(teacher), self.temperature)
        ce = F.cross_entropy(scaled if self.standardise == "both" else student, label)
        return {"ce": self.gamma * ce, "kd": self.alpha * distilled}
