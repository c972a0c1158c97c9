from typing import Any, Literal

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share
from cohobate.modules import mixing


class CutMix(Method[Any]):
    """Plain training on images with a box of another, and on labels weighted by its area.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", ICCV 2019, https://arxiv.org/abs/1905.04899, equations 1 and 2.

    alpha: both parameters of the Beta distribution that draws the area.
    share: fraction of the images that is mixed.
    per: one box for the whole batch, or one for each sample.
    """

    mixes = True

    def __init__(
        self,
        model: Any,
        *,
        alpha: Positive = 1.0,
        share: Share = 1.0,
        per: Literal["batch", "sample"] = "batch",
    ):
        super().__init__(model)
        self.mix = mixing.CutMix(alpha=alpha, share=share, per=per)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.model.losses(batch)
