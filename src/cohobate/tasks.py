"""What differs between tasks: the network, the data, and how it is scored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cohobate import evaluate
from cohobate.data import classification
from cohobate.models import Classifier


@dataclass(frozen=True)
class Task:
    """A kind of problem.

    model: builds a network from (arch, num_classes, options).
    data: reads a data set.
    evaluate: scores of a network on batches, as name → value.
    score: the name of the score that counts.
    """

    model: Callable[..., Any]
    data: Callable[..., classification.ImageSet]
    evaluate: Callable[..., dict[str, float]]
    score: str


TASKS = {
    "classification": Task(Classifier, classification.load, evaluate.classification, "top1"),
}
"""The tasks that `task` in a run file can name."""
