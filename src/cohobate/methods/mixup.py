from typing import Any, Literal

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share
from cohobate.modules import mixing


class Mixup(Method[Any]):
    """Plain training on averages of two images and of their labels.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
    https://arxiv.org/abs/1710.09412, equation 1.

    alpha: both parameters of the Beta distribution that draws the weight.
    share: fraction of the images that is mixed.
    per: one weight for the whole batch, or one for each sample.
    """

    mixes = True

    def __init__(
        self,
        model: Any,
        *,
        alpha: Positive = 0.2,
        share: Share = 1.0,
        per: Literal["batch", "sample"] = "batch",
    ):
        super().__init__(model)
        self.mix = mixing.Mixup(alpha=alpha, share=share, per=per)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.model.losses(batch)
