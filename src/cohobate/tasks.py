"""What differs between tasks: the network, the data, and how it is scored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cohobate import boxwise, evaluate, pixelwise
from cohobate.data import classification, detection, segmentation
from cohobate.data.boxes import BoxEvalLoader, BoxTrainLoader
from cohobate.data.loader import EvalLoader, TrainLoader
from cohobate.data.masks import MaskEvalLoader, MaskTrainLoader
from cohobate.models import Classifier, Detector, Segmenter
from cohobate.outcomes import Outcomes, Overlaps


@dataclass(frozen=True)
class Task:
    """A kind of problem.

    model: builds a network from (arch, num_classes, options).
    data: reads a data set. declared: what is known of one that is not at hand.
    train_loader, eval_loader: batches of a split.
    evaluate: scores of a network on batches, as name → value.
    score: the name of the score that counts. title: what people call it. chance: what it is of guesses,
        by the number of classes, of which there are as many things, or pixels, each.
    answers: whether an image is answered rightly or wrongly as a whole.
    mixes: whether images can be mixed with what they are taught.
    outcomes: what `evaluate` can leave of every image, from which intervals are drawn.
    shown: the settings of [eval] that `evaluate` takes, on how images are shown to the network.
    upon: the option of `model` that names what stands upon a timm network, where something does.
    """

    model: type[Any]
    data: Callable[..., classification.ImageSet]
    declared: Callable[..., classification.ImageSet]
    train_loader: Callable[..., Any]
    eval_loader: Callable[..., Any]
    evaluate: Callable[..., dict[str, float]]
    score: str
    title: str
    chance: Callable[[int], float]
    answers: bool
    mixes: bool
    outcomes: type[Outcomes] | type[Overlaps] | None = None
    shown: tuple[str, ...] = ()
    upon: str | None = None


TASKS = {
    "classification": Task(
        model=Classifier,
        data=classification.load,
        declared=classification.declared,
        train_loader=TrainLoader,
        eval_loader=EvalLoader,
        evaluate=evaluate.classification,
        score="top1",
        title="top-1",
        chance=lambda classes: 1 / classes,
        answers=True,
        mixes=True,
        outcomes=Outcomes,
    ),
    "segmentation": Task(
        model=Segmenter,
        data=segmentation.load,
        declared=segmentation.declared,
        train_loader=MaskTrainLoader,
        eval_loader=MaskEvalLoader,
        evaluate=pixelwise.segmentation,
        score="miou",
        title="mIoU",
        chance=lambda classes: 1 / (2 * classes - 1),
        answers=False,
        mixes=True,
        outcomes=Overlaps,
        shown=("window", "stride", "flip", "scales"),
        upon="decoder",
    ),
    "detection": Task(
        model=Detector,
        data=detection.load,
        declared=detection.declared,
        train_loader=BoxTrainLoader,
        eval_loader=BoxEvalLoader,
        evaluate=boxwise.detection,
        score="map",
        title="mAP",
        chance=lambda classes: 0.0,
        answers=False,
        mixes=False,
        upon="detector",
    ),
}
"""The tasks that `task` in a run file can name."""
