import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import hint
from cohobate.models import Classifier
from cohobate.modules import Connector, Frozen
from cohobate.modules.connector import shapes


class ResidualKD(Method[Classifier]):
    """An assistant learns what the student's last map still lacks of the teacher's.

    Gao et al., "Residual Knowledge Distillation", 2020,
    https://arxiv.org/abs/2002.09168, section 3. With S the student's last map, brought to the shape
    of the teacher's, T, and A the assistant's,
    L = CE(z, y) + beta mean (T - S)² + gamma mean ((T - S) - A)². The assistant is two convolutions
    on the map of the student's first stage.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    beta: weight of the student's term.
    gamma: weight of the assistant's term, of which the student learns, too.

    Differs from the paper: there student and assistant are cut out of one given network, so as to
    cost no more than it, and are deployed together. Here the student is all of the given network
    and is deployed alone; the assistant helps while it learns. Both are trained at once, one of the
    paper's schemes. The weights are ours: together that of FitNet in RepDistiller
    (https://github.com/HobbitLong/RepDistiller).
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        beta: Weight = 50.0,
        gamma: Weight = 50.0,
    ):
        super().__init__(model)
        mine, theirs = shapes(model, model.size).maps, shapes(teacher, model.size).maps
        target = theirs[-1]
        self.connector = Connector(mine[-1], target)
        self.assistant = nn.Sequential(
            Connector(mine[0], target, rectified=True),
            nn.Conv2d(target.channels, target.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(target.channels),
        )
        self.teacher = Frozen(teacher)
        self.beta, self.gamma = beta, gamma

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace = self.model.trace(images)
        target = self.teacher.trace(images).stages[-1].detach()
        guess, rest = self.connector(trace.stages[-1]), self.assistant(trace.stages[0])
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "feature": self.beta * hint(guess, target),
            "residual": self.gamma * hint(guess.float() + rest, target),
        }
