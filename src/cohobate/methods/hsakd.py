import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, total
from cohobate.methods.hsakd_teacher import HSAKDTeacher
from cohobate.models import Classifier
from cohobate.modules import AuxiliaryHeads, Frozen
from cohobate.modules.rotation import ROTATIONS, joint_labels, rotate


class HSAKD(Method[Classifier]):
    """Every stage learns, head by head, what the teacher's stage says of class and rotation.

    Yang et al., "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021,
    https://arxiv.org/abs/2107.13715. L = CE(z, y) + sum_l KL_T(q_l <- q_l^T) +
    KL_T(z <- z^T): the cross-entropy of the upright images, the others of all four rotations.
    The student's heads see no label, by default. Neither rotations nor heads are deployed.

    teacher: a run of `hsakd_teacher`, with as many heads; it sees the same images.
    temperature: softens both sides of every KL term, T.
    head_ce: weight of sum_l CE(q_l, 4y + r), which lets the student's heads see the labels as well;
        the paper has none, and its poster says that it hurts.

    Differs from the paper: the last epoch counts, not the best on the test set. Networks that are
    no chain of stages (transformers) get generic branches in the place of copies of their stages,
    and so does the head after the last stage where that cannot be built once more: it can for the
    `cifar_` networks, and where it is a row of two blocks or more (timm's ResNets).
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: HSAKDTeacher,
        temperature: Positive = 3.0,
        head_ce: Weight = 0.0,
    ):
        super().__init__(model)
        self.heads = AuxiliaryHeads(model, ROTATIONS * model.num_classes)
        check_match(model, len(self.heads), teacher.model, len(teacher.heads))
        self.teacher, self.teacher_heads = Frozen(teacher.model), Frozen(teacher.heads)
        self.heads.note = f"the student's {self.heads.note}"
        teacher.heads.note = f"the teacher's {teacher.heads.note}"
        self.temperature, self.head_ce = temperature, head_ce

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = rotate(batch.inputs)
        trace, target = self.model.trace(images), self.teacher.trace(images)
        joint = self.heads(trace.stages)
        pairs = zip(joint, self.teacher_heads(target.stages))
        label, T = batch.labels(self.model.num_classes), self.temperature
        losses = {
            "ce": F.cross_entropy(trace.logits[::ROTATIONS], label),
            "joint": total(kl(q, q_teacher, T) for q, q_teacher in pairs),
            "kd": kl(trace.logits, target.logits, T),
        }
        if self.head_ce:
            joint_label = joint_labels(label)
            found = total(F.cross_entropy(q, joint_label) for q in joint)
            losses["head_ce"] = self.head_ce * found
        return losses


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
