from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import focal
from cohobate.models import Classifier


class Focal(Method[Classifier]):
    """Images that are told well already count less.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
    https://arxiv.org/abs/1708.02002, equation 4. L = -(1 - p_y)^gamma log p_y, with p_y the
    probability of the class.

    gamma: how fast an image loses weight as its probability rises; 0 is the cross-entropy.

    Differs from the paper: one softmax over exclusive classes in the place of sigmoids, and no
    weights of classes (alpha), as in Self-KD-Lib (https://github.com/winycg/Self-KD-Lib); a mixed
    image counts with either class by its share.
    """

    def __init__(self, model: Classifier, *, gamma: Weight = 2.0):
        super().__init__(model)
        self.gamma = gamma

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = self.model(batch.inputs)
        return {"focal": batch.over_labels(lambda targets: focal(logits, targets, self.gamma))}
