import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import nkd
from cohobate.models import Classifier
from cohobate.modules import Frozen


class NKD(Method[Classifier]):
    """The teacher's belief in the label weighs its cross-entropy; what it says of the rest sums to one.

    Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels", ICCV 2023,
    https://arxiv.org/abs/2303.13005. With probabilities s and t, and with those of all classes but
    the label's at T, n, which sum to one:
    L = CE(s, y) - t_y log s_y - gamma T² sum_i n_t,i log n_s,i.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens what both say of the classes that are not the label's, T.
    gamma: weight of these. With T it is the authors' setting for CIFAR-100; theirs for ImageNet is
        temperature 1 and gamma 1.5.

    Differs from the paper: a mixed image has the loss with either label, by its share.
    """

    recalls = "all"  # of the classes that are not the label's, the small ones count as well

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 3.0,
        gamma: Weight = 3.5,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.gamma = temperature, gamma

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model(images), self.teacher.of(batch, images)
        weights = {"gamma": self.gamma, "temperature": self.temperature}
        return {
            "ce": F.cross_entropy(student, batch.labels(self.model.num_classes)),
            "kd": batch.over_labels(lambda targets: nkd(student, teacher, targets, **weights)),
        }
