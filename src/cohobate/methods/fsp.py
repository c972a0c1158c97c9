from itertools import pairwise

from torch import Tensor

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import flow, hint, total
from cohobate.models import Classifier
from cohobate.modules import Connectors, Frozen
from cohobate.modules.connector import resized
from cohobate.modules.taps import check_stages


class FSP(Method[Classifier]):
    """A first stage: how a teacher goes from one map to the next, before any label is seen.

    Yim et al., "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and
    Transfer Learning", CVPR 2017,
    https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html,
    equations 1 and 2. L = beta sum_i mean (G_i - G_i^T)² over neighbouring stages i, i + 1: G_i,cd
    is the mean over pixels of channel c of stage i times channel d of stage i + 1. A `supervised`
    run that starts from this one is the second stage: this one teaches no classifier.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    beta: weight of the term.

    Differs from the paper: squares are averaged over a matrix, as in RepDistiller, not summed. Maps
    are those at the ends of the stages, and the larger of two is averaged to the size of the
    smaller (the paper: max-pooling). Where widths differ, which the paper leaves out, a 1 × 1
    convolution with batch norm brings the student's map to the teacher's shape; of more stages,
    evenly spaced ones take part.
    """

    def __init__(self, model: Classifier, *, teacher: Classifier, beta: Weight = 1.0):
        super().__init__(model)
        for network in (model, teacher):
            check_stages(network)
        self.connectors = Connectors(model, teacher, model.size, differing="channels")
        self.teacher = Frozen(teacher)
        self.beta = beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace, target = self.model.trace(images), self.teacher.trace(images)
        mine, theirs = map(flows, self.connectors(trace.stages, target.stages))
        untaught = 0 * trace.logits.sum()  # every parameter takes part in every step, for DDP
        return {"flow": self.beta * total(map(hint, mine, theirs)) + untaught}


def flows(maps: list[Tensor]) -> list[Tensor]:
    """The flow between each two neighbours among maps, the larger in the size of the smaller."""
    found = []
    for first, second in pairwise(maps):
        height, width = min(first.shape[-2:], second.shape[-2:])
        found.append(flow(resized(first, height, width), resized(second, height, width)))
    return found
