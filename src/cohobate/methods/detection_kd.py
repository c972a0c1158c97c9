import torch

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl, rich_kl
from cohobate.models import Detector
from cohobate.modules import Frozen


class DetectionKD(Method[Detector]):
    """What the teacher says of the classes, box by box, is learned beside the boxes of the labels.

    Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation", NeurIPS 2017,
    https://papers.nips.cc/paper/6676-learning-efficient-object-detection-models-with-knowledge-distillation,
    section 3.2: of Faster and Mask R-CNN, whose classes and ground exclude each other,
    L = L_det + alpha T² KL(softmax(t / T) || softmax(s / T)), a mean over the boxes that the student has
    sampled from its own proposals, of which the teacher is asked, too. Of RetinaNet and FCOS each class is a
    decision by itself, as in Du et al., NeurIPS 2021, https://arxiv.org/abs/2111.00674:
    alpha T² sum_i m_i sum_c KL(sigmoid(t_ic / T) || sigmoid(s_ic / T)) / sum_i m_i over all anchors i, with
    m_i = max_c sigmoid(t_ic) for how sure the teacher is that there is anything.

    teacher: the frozen network: of two stages for a student of two; for one of one stage, of the same
        kind, with the same anchors.
    temperature: softens both predictions, T.
    alpha: weight of the distillation term; ours.

    Differs from the paper: the divergence stands for the cross-entropy, from which it differs by what the
    student does not change, and the ground weighs as much as any class. Boxes and pyramid are not
    distilled (`pkd` does the latter).
    """

    tasks = ("detection",)

    def __init__(
        self,
        model: Detector,
        *,
        teacher: Detector,
        temperature: Positive = 1.0,
        alpha: Weight = 1.0,
    ):
        super().__init__(model)
        self.temperature, self.alpha = temperature, alpha
        kinds = [net.spec["detector"] for net in (model, teacher)]
        two = [net.heads.exclusive for net in (model, teacher)]
        if two[0] != two[1] or (not two[0] and kinds[0] != kinds[1]):
            raise ValueError(
                f"model.detector={kinds[0]!r}, and the teacher's is {kinds[1]!r}, which does not classify"
                " the same boxes: choose model.detector as the teacher's, or method.name=pkd, which"
                " compares pyramids"
            )
        if model.heads.grid != teacher.heads.grid:
            strides = [", ".join(map(str, net.backbone.strides)) for net in (model, teacher)]
            raise ValueError(
                f"the anchors of {model.spec['arch']!r} (strides {strides[0]}) and of its teacher"
                f" {teacher.spec['arch']!r} ({strides[1]}) differ: choose networks whose stages are of"
                " like resolution, or method.name=pkd"
            )
        self.divergence = kl if two[0] else rich_kl
        self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        answer = self.model.answer(batch)
        with torch.no_grad():
            target = self.teacher.net.scores(batch, answer.places)
        distance = self.divergence(answer.scores, target, self.temperature)
        return {**answer.losses, "kd": self.alpha * distance}
