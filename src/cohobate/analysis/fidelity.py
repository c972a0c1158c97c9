"""How well a student has learnt what its teacher says, which is not how well it knows the classes."""

from dataclasses import dataclass

from torch import Tensor

from cohobate.analysis.calibration import log_probabilities


@dataclass(frozen=True)
class Fidelity:
    """A student against its teacher, on the same images.

    Stanton et al., NeurIPS 2021, https://arxiv.org/abs/2106.05945.
    agreement: the share of images, in [0, 1], on which both say the same class.
    kl: KL(teacher ‖ student) of their probabilities at a temperature of 1 in nats, averaged over images.
    teacher_top1: the teacher's own accuracy, in [0, 1].
    """

    teacher: str
    agreement: float
    kl: float
    teacher_top1: float


def fidelity(teacher: str, taught: Tensor, logits: Tensor, targets: Tensor) -> Fidelity:
    """Of a student's logits (N, C) to the teacher's, `taught` (N, C); teacher: its name."""
    p, q = log_probabilities(taught), log_probabilities(logits)
    said = taught.argmax(1)
    return Fidelity(
        teacher,
        agreement=float((said == logits.argmax(1)).double().mean()),
        kl=float((p.exp() * (p - q)).sum(1).mean()),
        teacher_top1=float((said == targets).double().mean()),
    )
