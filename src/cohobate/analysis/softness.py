"""How soft a teacher and its student are, and how far apart, at every temperature."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cohobate.analysis.calibration import entropy
from cohobate.core import Batch
from cohobate.losses import kl
from cohobate.models import Classifier

TEMPERATURES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Softness:
    """A teacher and its student on the same images.

    agreement: the share of images on which both name the same class. At each of `temperatures`,
    means over images, in nats: kl, from the teacher's probabilities to the student's, without the
    factor T²; teacher, student: the entropies. arch: the teacher's network.
    """

    images: int
    teacher_top1: float
    student_top1: float
    agreement: float
    temperatures: list[float]
    kl: list[float]
    teacher: list[float]
    student: list[float]
    arch: str = ""

    def of(self, label: str) -> str:
        """The student's label, and whom it learns from."""
        return f"{label}, of {self.arch}" if self.arch else label


def softness(
    student: Tensor, teacher: Tensor, targets: Tensor, temperatures: Sequence[float] = TEMPERATURES
) -> Softness:
    """Of the logits (N, C) of both, and the images' classes (N,)."""
    guesses = student.argmax(1), teacher.argmax(1)
    return Softness(
        images=len(targets),
        teacher_top1=_share(guesses[1] == targets),
        student_top1=_share(guesses[0] == targets),
        agreement=_share(guesses[0] == guesses[1]),
        temperatures=list(temperatures),
        kl=[float(kl(student, teacher, t)) / t**2 for t in temperatures],
        teacher=[float(entropy(teacher, t).mean()) for t in temperatures],
        student=[float(entropy(student, t).mean()) for t in temperatures],
    )


@torch.inference_mode()
def compared(student: Classifier, teacher: Classifier, batches: Iterable[Batch]) -> Softness:
    """Of the two networks on all batches, in eval mode."""
    student.eval()
    teacher.eval()
    rows = [(student(b.images).float(), teacher(b.images).float(), b.targets) for b in batches]
    first, second, targets = map(torch.cat, zip(*rows))
    return replace(
        softness(first, second, targets), arch=teacher.net.pretrained_cfg["architecture"]
    )


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
