"""How well a classifier's logits tell images of its own kind from others: out-of-distribution detection."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from cohobate.analysis import calibration

SCORES = {
    "max_softmax": lambda logits: calibration.log_probabilities(logits).amax(1),
    "energy": lambda logits: logits.double().logsumexp(1),
    "entropy": lambda logits: -calibration.entropy(logits),
}
"""Of each row of logits how much it looks like the network's own data: higher is more.

max_softmax: the highest probability (its logarithm, which does not round to one), Hendrycks and
Gimpel, ICLR 2017, https://arxiv.org/abs/1610.02136. energy: minus the energy, Liu et al.,
NeurIPS 2020, https://arxiv.org/abs/2010.03759. entropy: minus the entropy.
"""


@dataclass(frozen=True)
class Detection:
    """Own images told from others by one of `SCORES`.

    auroc: in [0, 1], 0.5 is chance. fpr95: the share of the others that is taken for own where 95 %
    of the own are; lower is better.
    """

    auroc: float
    fpr95: float


def detect(own: Tensor, others: Tensor) -> dict[str, Detection]:
    """By each score, of the logits (N, C) of own images and (M, C) of others."""
    return {name: _detection(score(own), score(others)) for name, score in SCORES.items()}


def _detection(own: Tensor, others: Tensor) -> Detection:
    values = np.concatenate([own.cpu().numpy(), others.cpu().numpy()])
    labels = np.repeat([1, 0], [len(own), len(others)])
    false, true, _ = roc_curve(labels, values, drop_intermediate=False)
    return Detection(
        auroc=float(roc_auc_score(labels, values)), fpr95=float(false[true >= 0.95].min())
    )
