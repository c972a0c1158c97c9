import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress
from cohobate.losses import normalised
from cohobate.models import Classifier


class LogitNorm(Method[Classifier]):
    """Confidence cannot be had by longer logits, since all of them are brought to one length.

    Wei et al., "Mitigating Neural Network Overconfidence with Logit Normalization", ICML 2022,
    https://arxiv.org/abs/2205.09310, section 3. L = CE(z / (tau ||z||), y). What is deployed is
    the network as it is, with logits of any length.

    temperature: tau; all logits get the length 1 / tau. The loss cannot fall below
        log(1 + (C - 1) exp(-sqrt(C / (C - 1)) / tau)): of 100 classes that is next to nothing at
        0.04, and 0.5 at 0.2.
    """

    def __init__(self, model: Classifier, *, temperature: Positive = 0.04):
        super().__init__(model)
        self.temperature = temperature

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = normalised(self.model(batch.inputs)) / self.temperature
        return {"ce": F.cross_entropy(logits, batch.labels(self.model.num_classes))}
