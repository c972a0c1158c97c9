"""How far a classifier's confidence can be trusted, told from its logits (N, C) and the classes (N,).

Computed in float64: in float32 a sure network's probabilities round to 1, and all tell the same.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

BINS = 15
"""As in Guo et al. and most papers since."""


@dataclass(frozen=True)
class Reliability:
    """Images by confidence, in bins of equal width from 0 to 1, empty ones included.

    count: images in each bin. confidence, accuracy: their mean highest probability, and the share
    of them that is classified correctly; None in an empty bin.
    """

    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]

    @property
    def ece(self) -> float:
        """The expected calibration error, in [0, 1]: |accuracy - confidence|, averaged over images.

        Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, equation 3. A confidence of 1 falls
        into the last bin, as there; torchmetrics gives it a bin of its own.
        """
        gaps = (
            n * abs(accuracy - confidence)
            for n, confidence, accuracy in zip(self.count, self.confidence, self.accuracy)
            if confidence is not None and accuracy is not None
        )
        return sum(gaps) / sum(self.count)


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The softmax (N, C) of logits / temperature, float64. Raises ValueError unless temperature > 0."""
    return log_probabilities(logits, temperature).exp()


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The logarithm of `probabilities`, which does not round to 0 or minus infinity."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"a temperature of {temperature:g} should be a number above 0")
    return (logits.double() / temperature).log_softmax(1)


def reliability(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, bins: int = BINS
) -> Reliability:
    """The bars of a reliability diagram: the bin of index m holds confidences in (m/bins, (m+1)/bins].

    Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, equations 1 and 2.
    """
    confidence, predicted = probabilities(logits, temperature).max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    place = torch.bucketize(confidence, edges[1:-1])
    count = torch.bincount(place, minlength=bins)
    hits = (predicted == targets).to(confidence.dtype)
    sums = (torch.bincount(place, weights=each, minlength=bins) for each in (confidence, hits))
    means = ([float(s / n) if n else None for s, n in zip(total, count.tolist())] for total in sums)
    return Reliability(count.tolist(), *means)


def nll(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> float:
    """The negative log-likelihood of the classes in nats, averaged over images."""
    return float(F.nll_loss(log_probabilities(logits, temperature), targets))


def brier(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> float:
    """The squared distance from probabilities to the one-hot class, averaged over images: 0 to 2.

    Brier, Monthly Weather Review 78 (1950), in its original form: summed over the classes.
    """
    found = probabilities(logits, temperature)
    return float((found - F.one_hot(targets, logits.shape[1])).square().sum(1).mean())


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The entropy of each image's probabilities (N,) in nats: from 0, sure, to ln C, no idea."""
    log_p = log_probabilities(logits, temperature)
    return -(log_p.exp() * log_p).sum(1)


def confidence(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The highest probability of each image (N,): from 1/C to 1."""
    return probabilities(logits, temperature).amax(1)


def adaptive_ece(logits: Tensor, targets: Tensor, *, bins: int = BINS) -> float:
    """The calibration error in [0, 1] over bins of equally many images, by rising confidence.

    Nguyen and O'Connor, EMNLP 2015, https://arxiv.org/abs/1508.05154, weighted and not
    squared, as in Mukhoti et al., NeurIPS 2020, https://arxiv.org/abs/2002.09437.
    """
    found, predicted = probabilities(logits).max(1)
    order = found.argsort(stable=True)
    gaps = found[order] - (predicted == targets)[order].double()
    return float(sum(part.sum().abs() for part in gaps.tensor_split(bins)) / len(gaps))


def classwise_ece(logits: Tensor, targets: Tensor, *, bins: int = BINS) -> float:
    """The calibration error in [0, 1] of each class's probability over all images, averaged over classes.

    Kull et al., NeurIPS 2019, https://arxiv.org/abs/1910.12656: bins of equal width, in
    each the mean probability of the class against its share of the images.
    """
    of_classes = probabilities(logits).T.contiguous()
    errors = [
        binary_calibration_error(found, (targets == k).long(), n_bins=bins)
        for k, found in enumerate(of_classes)
    ]
    return float(torch.stack(errors).mean())


def aurc(logits: Tensor, targets: Tensor) -> float:
    """The area under the risk-coverage curve, in [0, 1]: 0 is best.

    The share of errors among the n images of highest confidence, averaged over n from one to all:
    Geifman et al., ICLR 2019, https://arxiv.org/abs/1805.08206. Images of equal
    confidence count as if each had their mean error.
    """
    confidence, predicted = log_probabilities(logits).max(1)
    values, group, count = confidence.unique(return_inverse=True, return_counts=True)
    wrong = (predicted != targets).double()
    mean = torch.zeros_like(values).index_add_(0, group, wrong) / count
    errors = mean[group][confidence.argsort(descending=True)].cumsum(0)
    return float((errors / torch.arange(1, len(errors) + 1, device=errors.device)).mean())
