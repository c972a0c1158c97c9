"""What a classifier is worth, told from its logits (N, C) and the classes (N,) of the images."""

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from cohobate.analysis import calibration


def scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """The scores that training writes, by the same names, and those that it leaves out.

    top1, top5 (with more than 5 classes), balanced (the mean accuracy of the classes that there are
    images of), ece (15 bins of equal width, as torchmetrics counts), ece_adaptive and ece_classwise:
    shares in [0, 1]. nll in nats; brier from 0 to 2; aurc from 0 to 1: see `calibration`.
    """
    classes, found = logits.shape[1], logits.softmax(1)
    counts = confusion(logits, targets).double()
    values: dict[str, float | Tensor] = {
        "top1": multiclass_accuracy(found, targets, classes, average="micro")
    }
    if classes > 5:
        values["top5"] = multiclass_accuracy(found, targets, classes, average="micro", top_k=5)
    values |= {
        "balanced": (counts.diag() / counts.sum(1)).nanmean(),
        "nll": calibration.nll(logits, targets),
        "brier": calibration.brier(logits, targets),
        "ece": multiclass_calibration_error(found, targets, classes, n_bins=calibration.BINS),
        "ece_adaptive": calibration.adaptive_ece(logits, targets),
        "ece_classwise": calibration.classwise_ece(logits, targets),
        "aurc": calibration.aurc(logits, targets),
    }
    return {name: float(value) for name, value in values.items()}


def confusion(logits: Tensor, targets: Tensor) -> Tensor:
    """How many images of each class were taken for which (C, C): true classes down, said across."""
    return multiclass_confusion_matrix(logits.argmax(1), targets, logits.shape[1])


@dataclass(frozen=True)
class ClassScores:
    """Of one class, as shares in [0, 1].

    images: how many there are of it. accuracy: the share of them that was recognised; None without
    any. precision: the share of the images taken for it that are of it; None where none was. f1:
    their harmonic mean; 0 where either is 0 or None.
    """

    name: str
    images: int
    accuracy: float | None
    precision: float | None
    f1: float


def by_class(logits: Tensor, targets: Tensor, names: tuple[str, ...]) -> list[ClassScores]:
    """The scores of every class, in the order of `names`."""
    said, true = logits.argmax(1).cpu().numpy(), targets.cpu().numpy()
    options: Any = {"labels": range(len(names)), "zero_division": 0}
    table: Any = precision_recall_fscore_support(true, said, **options)
    taken = torch.bincount(logits.argmax(1), minlength=len(names)).tolist()
    return [
        ClassScores(
            name,
            int(images),
            float(recall) if images else None,
            float(precision) if count else None,
            float(f1),
        )
        for name, precision, recall, f1, images, count in zip(names, *table, taken)
    ]


def weakest(classes: list[ClassScores], count: int = 5) -> list[ClassScores]:
    """The classes with images of which the smallest share is recognised, worst first."""
    scored = [each for each in classes if each.accuracy is not None and each.accuracy < 1]
    return sorted(scored, key=lambda each: each.accuracy or 0.0)[:count]


def most_confused(counts: list[list[int]], count: int = 5) -> list[tuple[int, int, int]]:
    """(true class, the class that it was taken for, images) of the most frequent mistakes."""
    mistakes = [
        (true, said, images)
        for true, row in enumerate(counts)
        for said, images in enumerate(row)
        if said != true and images
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[2])[:count]
