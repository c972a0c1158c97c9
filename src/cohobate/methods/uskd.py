from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import non_target, smoothed_target, zipf
from cohobate.models import Classifier
from cohobate.modules.taps import check_stages

SMOOTHING = 0.1
"""Of the label that the weak classifier learns."""


class USKD(Method[Classifier]):
    """The network's own confidence smooths the label, and ranks the wrong classes by Zipf's law.

    Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels", ICCV 2023, https://arxiv.org/abs/2303.13005,
    section 3.2. With p the prediction, t the target class, N(.) a distribution over the others and
    w the prediction of a weak classifier on the pooled map of the last stage but one,
    L = CE(p) - alpha (p_t² + 1 - mean p_t²) log p_t - beta sum_i Z_i log N(p)_i + mu CE(w, smoothed y)
    where Z_i falls as one over the rank of class i by N(p) + N(w), and no gradient reaches the factor
    of log p_t, nor Z. The network alone is deployed.

    alpha: weight of the target class's term.
    beta: weight of the other classes' term.
    mu: weight of the weak classifier's cross-entropy.
    variant: "released" ranks as the authors' code does: by w / (1 - w_t) + log p / (1 - log p_t),
        the target with the rest, so that it takes a rank from them.

    Differs from the paper: under mixing, the terms count with either label by its share; a transformer's
    weak classifier sees the mean of its tokens.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        alpha: Weight = 0.1,
        beta: Weight = 0.1,
        mu: Weight = 0.1,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        check_stages(model)
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.score = _score if variant == "paper" else _released_score
        self.weak = nn.Linear(model.stages[-2].channels, model.num_classes)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        logits, weak = trace.logits, self.weak(trace.stages[-2].mean((2, 3))).float()
        label = batch.labels(self.model.num_classes)

        def others(targets: Tensor) -> Tensor:
            return non_target(logits, zipf(self.score(logits, weak, targets)), targets)

        return {
            "ce": F.cross_entropy(logits, label),
            "target": self.alpha * batch.over_labels(lambda t: smoothed_target(logits, t)),
            "non_target": self.beta * batch.over_labels(others),
            "weak": self.mu * F.cross_entropy(weak, label, label_smoothing=SMOOTHING),
        }


def _score(logits: Tensor, weak: Tensor, targets: Tensor) -> Tensor:
    """What classes are ranked by (B, C): both distributions over the others; the target comes last."""
    target = F.one_hot(targets, logits.shape[1]).bool()
    strong, weak = (z.masked_fill(target, -torch.inf).softmax(1) for z in (logits, weak))
    return (strong + weak).masked_fill(target, -1)


def _released_score(logits: Tensor, weak: Tensor, targets: Tensor) -> Tensor:
    log_p, w = logits.log_softmax(1), weak.softmax(1)
    column = targets[:, None]
    return w / (1 - w.gather(1, column) + 1e-6) + log_p / (1 - log_p.gather(1, column) + 1e-6)
