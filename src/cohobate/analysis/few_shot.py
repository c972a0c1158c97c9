"""What features are worth where few images of each class are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from cohobate.data.splits import rank


def means(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each class (K, D), and the classes (K,)."""
    classes = np.unique(labels)
    return np.stack([features[labels == k].mean(0) for k in classes]), classes


CLASSIFIERS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "linear": lambda features, labels: LogisticRegression(max_iter=1000).fit(features, labels),
    "nearest image": lambda features, labels: KNeighborsClassifier(1).fit(features, labels),
    "nearest mean": lambda features, labels: KNeighborsClassifier(1).fit(*means(features, labels)),
}
"""What learns features (N, D) of length one and their labels: logistic regression (Tian et al., ECCV
2020, https://arxiv.org/abs/2003.11539), the nearest image's class, and the class whose mean is nearest
(Wang et al., 2019, https://arxiv.org/abs/1911.04623)."""


@dataclass(frozen=True)
class FewShot:
    """Top-1 in [0, 1] on all test images, with `shots` training images of each class.

    top1: by each of `CLASSIFIERS`, one for each draw of the training images.
    """

    shots: int
    top1: dict[str, list[float]]

    def mean(self, name: str) -> float:
        """Over the draws."""
        return mean(self.top1[name])

    def deviation(self, name: str) -> float | None:
        """Of the draws, with n - 1; None of a single one."""
        return stdev(self.top1[name]) if len(self.top1[name]) > 1 else None


def check(targets: Tensor, shots: int, names: Sequence[str]) -> None:
    """Raises ValueError where a class has fewer than `shots` images among those of classes (N,)."""
    counts = torch.bincount(targets.cpu(), minlength=len(names))
    fewest = int(counts.argmin())
    if shots > counts[fewest]:
        raise ValueError(
            f"--shots {shots} is more than class {names[fewest]!r} has: choose at most"
            f" {int(counts[fewest])}"
        )


def few_shot(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    shots: int,
    draws: int,
    names: Sequence[str],
) -> FewShot:
    """Learns the classes from `shots` images of each, drawn anew `draws` times: always the same draws.

    train, test: features (N, D), and classes (N,). names: of the classes.
    Raises ValueError where a class has fewer training images.
    """
    features, targets = train
    check(targets, shots, names)
    known, unknown = (
        F.normalize(each.float(), dim=1).cpu().numpy() for each in (features, test[0])
    )
    labels, expected = targets.cpu().numpy(), test[1].cpu().numpy()
    top1: dict[str, list[float]] = {name: [] for name in CLASSIFIERS}
    for draw in range(draws):
        rows = np.flatnonzero((rank(targets.cpu(), draw) < shots).numpy())
        for name, learn in CLASSIFIERS.items():
            learnt = learn(known[rows], labels[rows])
            top1[name].append(float(learnt.score(unknown, expected)))
    return FewShot(shots, top1)
