import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Share
from cohobate.models import Classifier


class LabelSmoothing(Method[Classifier]):
    """Labels that keep a little doubt.

    Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016,
    https://arxiv.org/abs/1512.00567, section 7.

    smoothing: probability mass spread evenly over all classes, epsilon.
    """

    tasks = ("classification", "segmentation")

    def __init__(self, model: Classifier, *, smoothing: Share = 0.1):
        super().__init__(model)
        self.smoothing = smoothing

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = self.model(batch.inputs)
        label = batch.labels(self.model.num_classes)
        spread = label.sum(1, keepdim=True) / self.model.num_classes  # zero where a pixel is void
        return {"ce": F.cross_entropy(logits, torch.lerp(label, spread, self.smoothing))}
