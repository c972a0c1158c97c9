"""What a trained network is worth, as name → value."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)

from cohobate.core import Batch


def classification(
    model: nn.Module,
    batches: Iterable[Batch],
    autocast: AbstractContextManager[Any] | None = None,
    right: Tensor | None = None,
) -> dict[str, float]:
    """Scores of a classifier on the rows of all processes together.

    right: (N,) int, one for each image of the split; 1 is written where this process sees the
        image and the likeliest class is its own.

    top1, top5 (with more than 5 classes), balanced (the mean accuracy of the
    classes that there are images of): shares
    in [0, 1]. nll: mean negative log-likelihood in nats. ece: expected calibration error over 15
    bins of equal width, Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599. brier: squared
    distance from the probabilities to the one-hot class, 0 to 2, Brier 1950.
    """
    classes = model.num_classes
    assert isinstance(classes, int)
    device = next(model.parameters()).device
    metrics: dict[str, Metric | MetricCollection] = {
        "top1": MulticlassAccuracy(classes, average="micro"),
        "ece": MulticlassCalibrationError(classes, n_bins=15),
    }
    if classes > 5:
        metrics["top5"] = MulticlassAccuracy(classes, average="micro", top_k=5)
    scores = MetricCollection(metrics, compute_groups=False).to(device)
    nll, brier = MeanMetric().to(device), MeanMetric().to(device)
    confusion = MulticlassConfusionMatrix(classes).to(device)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast or nullcontext():
        for batch in batches:
            logits: Tensor = model(batch.images).float()
            probabilities = logits.softmax(1)
            scores.update(probabilities, batch.targets)
            confusion.update(logits.argmax(1), batch.targets)
            if right is not None:
                right[batch.ids] = (probabilities.argmax(1) == batch.targets).to(right.dtype)
            nll.update(F.cross_entropy(logits, batch.targets), weight=len(logits))
            distance = probabilities - F.one_hot(batch.targets, classes)
            brier.update(distance.square().sum(1).mean(), weight=len(logits))
    model.train(was_training)
    counts = confusion.compute().float()
    recall = counts.diag() / counts.sum(1)  # not a number where a class has no image
    values = {
        **scores.compute(),
        "nll": nll.compute(),
        "brier": brier.compute(),
        "balanced": recall.nanmean(),
    }
    return {name: float(value) for name, value in values.items()}
