import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import jensen_shannon
from cohobate.models import Classifier


class AugMixJSD(Method[Classifier]):
    """An image and two views that AugMix makes of it are to get one prediction.

    Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty",
    ICLR 2020, https://arxiv.org/abs/1912.02781, equations 1 and 2. With logits z_1 of the image, as
    data.augment crops and flips it, and z_2, z_3 of two mixtures of operations on that, which pass
    the network at once, L = CE(z_1, y) + alpha JS(z_1, z_2, z_3), where JS is the mean of the
    divergences of the three predictions from their mean.

    alpha: weight of the Jensen-Shannon term.
    """

    views = 3
    distort = ("augmix",)

    def __init__(self, model: Classifier, *, alpha: Weight = 12.0):
        super().__init__(model)
        self.alpha = alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        views = self.model(batch.inputs.transpose(0, 1).flatten(0, 1)).chunk(self.views)
        return {
            "ce": F.cross_entropy(views[0], batch.labels(self.model.num_classes)),
            "consistency": self.alpha * jensen_shannon(*views),
        }
