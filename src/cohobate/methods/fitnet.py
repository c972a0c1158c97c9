import torch.nn.functional as F

from cohobate.core import Batch, Count, Losses, Method, Progress, Weight
from cohobate.losses import hint
from cohobate.models import Classifier
from cohobate.modules import Connector, Frozen
from cohobate.modules.connector import pairs, shapes


class FitNet(Method[Classifier]):
    """A map from the middle of the student is to tell a map from the middle of the teacher.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015,
    https://arxiv.org/abs/1412.6550, equation 3. With r a learned 1×1 convolution and batch norm,
    L = gamma CE(s, y) + beta mean (r(F_s) - F_t)², as RepDistiller has it
    (https://github.com/HobbitLong/RepDistiller).

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    stage: which stages meet, counted from 1; of two networks with different numbers of stages,
        evenly spaced ones do.
    rectified: whether r ends in a ReLU; a teacher whose maps go below zero, such as a transformer,
        asks for False.
    gamma: weight of the cross-entropy.
    beta: weight of the hint.

    Differs from the paper: the hint is learned along with the labels, not before them, as in
    RepDistiller. Maps of different sizes are resized; there, the convolution has a stride.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        stage: Count = 2,
        rectified: bool = True,
        gamma: Weight = 1.0,
        beta: Weight = 100.0,
    ):
        super().__init__(model)
        self.gamma, self.beta = gamma, beta
        own, other = (shapes(net, model.size).maps for net in (model, teacher))
        meetings = pairs(own, other)
        if stage > len(meetings):
            raise ValueError(
                f"method.stage={stage}: {model.spec['arch']!r} has {len(own)} stages and its teacher"
                f" {teacher.name!r} {len(other)}, of which {len(meetings)} meet: choose one"
                f" from 1 to {len(meetings)}"
            )
        self.place, self.target = meetings[stage - 1]
        self.regressor = Connector(own[self.place], other[self.target], rectified=rectified)
        self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        student, teacher = self.model.trace(images), self.teacher.trace(images)
        label = batch.labels(self.model.num_classes)
        guess = self.regressor(student.stages[self.place])
        return {
            "ce": self.gamma * F.cross_entropy(student.logits, label),
            "hint": self.beta * hint(guess, teacher.stages[self.target]),
        }
