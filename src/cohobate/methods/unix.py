import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import kl
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.mixing import Mixup


class UNIX(Method[Classifier]):
    """Of every batch a teacher sees a part alone: what its student doubts, mixed where it does not.

    Xu et al., "Computation-Efficient Knowledge Distillation via Uncertainty-Aware Mixup", Pattern
    Recognition 2023,
    https://arxiv.org/abs/2012.09413. The student looks at the B plain images first, without a
    gradient, and the entropy of its predictions ranks them, r = 0 the most uncertain. A partner's
    share is (1 - w) sigmoid(slope (r / B - turn + 1 / 2B)), w ~ Beta(1, 1) for the whole batch.
    The first `queried` B mixtures are what both networks see, and
    L = gamma CE(s, y) + alpha KL_T(s <- t) is theirs alone.

    teacher: the frozen network.
    queried: the share of a batch that the teacher, and the student with a gradient, see.
    turn: the rank, as a share of the batch, at which half of the drawn mixing sets in.
    slope: how suddenly it does.
    temperature: softens both predictions, T.
    gamma: weight of the cross-entropy, which the authors' code leaves out.
    alpha: weight of the distillation term, which carries the factor T².

    Differs from the paper: a partner is another image than the row itself. The student's first look
    is in training mode, and moves the statistics of its batch norms, as in the authors' code.
    """

    mixes = True

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        queried: Share = 0.75,
        turn: Share = 0.5,
        slope: Weight = 10.0,
        temperature: Positive = 4.0,
        gamma: Weight = 0.0,
        alpha: Weight = 1.0,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.mix = Mixup(alpha=1.0)
        self.queried, self.turn, self.slope = queried, turn, slope
        self.temperature, self.gamma, self.alpha = temperature, gamma, alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        with torch.no_grad():
            log_p = F.log_softmax(self.model(batch.images), 1)
        order = (log_p.exp() * log_p).sum(1).argsort(stable=True)  # by falling entropy
        taken = order[: max(1, round(self.queried * len(order)))]
        batch = self.adapted(batch, order)
        images, label = batch.inputs[taken], batch.labels(self.model.num_classes)[taken]
        student, teacher = self.model(images), self.teacher(images)
        losses = {"kd": self.alpha * kl(student, teacher, self.temperature)}
        if self.gamma:
            losses["ce"] = self.gamma * F.cross_entropy(student, label)
        return losses

    def adapted(self, batch: Batch, order: torch.Tensor) -> Batch:
        """The batch with less of its partner in a row, the earlier this comes in `order`."""
        if batch.mix is None:
            return batch
        rank = order.argsort() / len(order)
        share = (self.slope * (rank - self.turn + 0.5 / len(order))).sigmoid()
        weight, mask = batch.mix.weight, batch.mix.mask
        if mask is not None:
            mask = 1 - share.view(-1, 1, 1, 1) * (1 - mask)
        return batch._replace(mix=batch.mix._replace(weight=1 - share * (1 - weight), mask=mask))
