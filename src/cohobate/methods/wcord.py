import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import kl, total, transport, wasserstein_dual
from cohobate.models import Classifier
from cohobate.modules import Banks, Frozen
from cohobate.modules.connector import shapes


class WCoRD(Method[Classifier]):
    """Two networks' views of the data are drawn together by optimal transport, far and near.

    Chen et al., "Wasserstein Contrastive Representation Distillation", CVPR 2021,
    https://arxiv.org/abs/2012.08674, section 3. Both embeddings pass a linear layer of their own
    and get unit norm; L = gamma CE(s, y) + alpha KL_4(s <- t)
    - lambda_1 (E[g] over pairs - E[g] over images of different classes), g(a, b) = ab / T, with
    either network as the anchor (global: the dual form of the Wasserstein distance)
    + lambda_2 sum_bc P_bc (1 - s_b t_c), with the plan P of least cost between the rows of the batch
    (local: the primal form).

    The rows of other images, and of the same one as a partner, are remembered as CRD does.

    teacher: the frozen network; it sees the same, equally mixed, images.
    width: numbers in a row that is remembered.
    negatives: images of other classes for each one.
    temperature: of the inner products, T.
    momentum: share of what is remembered when a row is written again.
    regularisation, iterations: of Sinkhorn's algorithm: the weight of the plan's entropy, and how
        often it fits columns and rows.
    gamma: weight of the cross-entropy.
    alpha: weight of KD beside it; the paper's WCoRD + KD has it.
    dual: weight of the global term, lambda_1.
    primal: weight of the local term, lambda_2.

    Differs from the paper: no code was released, and what its text leaves open is our reading. The
    critic g is the inner product of unit vectors, which is 1-Lipschitz in each but for the factor
    1 / T, in the place of a spectrally normalised network. The weights and the settings of
    Sinkhorn's algorithm are ours. The plan is taken as fixed, and the local term trains the
    student's side alone. Which images are drawn, and what mixing does, are as in CRD.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        samples: int,
        width: Count = 128,
        negatives: Count = 16384,
        temperature: Positive = 0.07,
        momentum: Share = 0.5,
        regularisation: Positive = 0.1,
        iterations: Count = 20,
        gamma: Weight = 1.0,
        alpha: Weight = 0.0,
        dual: Weight = 0.8,
        primal: Weight = 0.05,
    ):
        super().__init__(model)
        self.student_head = nn.Linear(shapes(model, model.size).embedding, width)
        self.teacher_head = nn.Linear(shapes(teacher, model.size).embedding, width)
        self.teacher = Frozen(teacher)
        self.banks = Banks(samples, width, negatives=negatives, momentum=momentum)
        self.temperature = temperature
        self.regularisation, self.iterations = regularisation, iterations
        self.gamma, self.alpha = gamma, alpha
        self.dual, self.primal = dual, primal

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace, target = self.model.trace(images), self.teacher.trace(images)
        student = F.normalize(self.student_head(trace.embedding).float())
        teacher = F.normalize(self.teacher_head(target.embedding).float())
        found, apart = self.banks(batch, student, teacher, progress.step)
        distance = total(wasserstein_dual(p, n, apart) for p, n in found) / self.temperature
        carried = transport(student, teacher, self.regularisation, self.iterations)
        label = batch.labels(self.model.num_classes)
        losses = {
            "ce": self.gamma * F.cross_entropy(trace.logits, label),
            "dual": self.dual * distance,
            "primal": self.primal * carried,
        }
        if self.alpha:
            losses["kd"] = self.alpha * kl(trace.logits, target.logits, 4.0)
        return losses
