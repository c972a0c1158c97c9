import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress
from cohobate.losses import kl, total
from cohobate.methods.hsakd_teacher import HSAKDTeacher
from cohobate.models import Classifier
from cohobate.modules import AuxiliaryHeads, Frozen
from cohobate.modules.rotation import ROTATIONS, rotate


class HSAKD(Method[Classifier]):
    """Every stage learns, head by head, what the teacher's stage says of class and rotation.

    Yang et al., "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021,
    https://arxiv.org/abs/2107.13715. L = CE(z, y) + sum_l KL_T(q_l <- q_l^T) +
    KL_T(z <- z^T): the cross-entropy of the upright images, the others of all four rotations.
    The student's heads see no label. Neither rotations nor heads are deployed.

    teacher: a run of `hsakd_teacher`, with as many heads; it sees the same images.
    temperature: softens both sides of every KL term, T.

    Differs from the paper: the last epoch counts, not the best on the test set. Networks that are
    no chain of stages (transformers) get generic branches in the place of copies of their stages.
    """

    def __init__(self, model: Classifier, *, teacher: HSAKDTeacher, temperature: Positive = 3.0):
        super().__init__(model)
        self.heads = AuxiliaryHeads(model, ROTATIONS * model.num_classes)
        check_match(model, len(self.heads), teacher.model, len(teacher.heads))
        self.teacher, self.teacher_heads = Frozen(teacher.model), Frozen(teacher.heads)
        self.temperature = temperature

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = rotate(batch.inputs)
        trace, target = self.model.trace(images), self.teacher.trace(images)
        pairs = zip(self.heads(trace.stages), self.teacher_heads(target.stages))
        label, T = batch.labels(self.model.num_classes), self.temperature
        return {
            "ce": F.cross_entropy(trace.logits[::ROTATIONS], label),
            "joint": total(kl(q, q_teacher, T) for q, q_teacher in pairs),
            "kd": kl(trace.logits, target.logits, T),
        }


def check_match(student: Classifier, heads: int, teacher: Classifier, teacher_heads: int) -> None:
    """Raises ValueError where the two do not fit head by head."""
    if student.num_classes != teacher.num_classes:
        raise ValueError(
            f"the teacher knows {teacher.num_classes} classes and the student"
            f" {student.num_classes}: choose a teacher that was trained on this data"
        )
    if heads != teacher_heads:
        raise ValueError(
            f"the teacher has {teacher_heads} auxiliary heads and the student"
            f" {student.spec['arch']!r} {heads}, one for each stage, and head learns from head:"
            " choose networks of as many stages (`cohobate models NAME` prints them)"
        )
