import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import jensen_shannon
from cohobate.models import Classifier


class AugMixJSD(Method[Classifier]):
    """Three augmented views of an image are to get one prediction.

    Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty",
    ICLR 2020, https://arxiv.org/abs/1912.02781, equations 1 and 2. With logits z_1, z_2, z_3 of the
    views, which pass the network at once, L = CE(z_1, y) + alpha JS(z_1, z_2, z_3), where JS is the
    mean of the divergences of the three predictions from their mean. The views are what data.augment
    makes of the image, each with draws of its own: AugMix's mixtures of augmentations where that says
    so, else crops and flips or whatever it names.

    alpha: weight of the Jensen-Shannon term.

    Differs from the paper: the first view is augmented as the other two are.
    """

    views = 3

    def __init__(self, model: Classifier, *, alpha: Weight = 12.0):
        super().__init__(model)
        self.alpha = alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        views = self.model(batch.inputs.transpose(0, 1).flatten(0, 1)).chunk(self.views)
        return {
            "ce": F.cross_entropy(views[0], batch.labels(self.model.num_classes)),
            "consistency": self.alpha * jensen_shannon(*views),
        }
