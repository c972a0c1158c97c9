import torch.nn.functional as F

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Weight
from cohobate.losses import cosines, kl, transport, wasserstein_dual
from cohobate.models import Classifier
from cohobate.modules import Embeddings, Frozen


class WCoRD(Method[Classifier]):
    """What two networks make of images is drawn together by optimal transport, in both its forms.

    Chen et al., "Wasserstein Contrastive Representation Distillation", CVPR 2021,
    https://arxiv.org/abs/2012.08674, section 3. Both embeddings pass a linear layer of their own
    and get unit norm; L = gamma CE(s, y) + alpha KL_T(s <- t)
    - lambda_1 (mean_b s_b t_b - mean_{b != c} s_b t_c) / tau (global: the distance of pairs from
    chance, in its dual form) + lambda_2 sum_bc P_bc (1 - s_b t_c), with the plan P of least cost
    between the two networks' rows (local: in its primal form, by Sinkhorn's algorithm).

    teacher: the frozen network; it sees the same, equally mixed, images.
    width: numbers in the rows that are compared.
    contrast_temperature: of the inner products in the global term, tau.
    regularisation, iterations: of Sinkhorn's algorithm: the weight of the plan's entropy, and how
        often it fits columns and rows.
    gamma: weight of the cross-entropy.
    alpha: weight of KD beside it, for the paper's WCoRD + KD.
    temperature: softens both predictions in KD, T.
    dual: weight of the global term, lambda_1.
    primal: weight of the local term, lambda_2.

    Differs from the paper: no code was released; all weights and settings, and what its text leaves
    open, are ours. The critic is the inner product of unit vectors, which is 1-Lipschitz in each
    but for 1 / tau, in the place of a spectrally normalised network. Chance is every other pair of the
    batch, and no memory of earlier steps: being linear in the critic, the global term has no bias
    that more pairs would lessen, and rows out of date would give it one. The plan is taken as
    fixed, and the local term trains the student's side alone.
    """

    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        width: Count = 128,
        contrast_temperature: Positive = 0.07,
        regularisation: Positive = 0.1,
        iterations: Count = 20,
        gamma: Weight = 1.0,
        alpha: Weight = 0.0,
        temperature: Positive = 4.0,
        dual: Weight = 0.8,
        primal: Weight = 0.05,
    ):
        super().__init__(model)
        self.embeddings = Embeddings(model, teacher, model.size, width)
        self.teacher = Frozen(teacher)
        self.temperature, self.contrast_temperature = temperature, contrast_temperature
        self.regularisation, self.iterations = regularisation, iterations
        self.gamma, self.alpha, self.dual, self.primal = gamma, alpha, dual, primal

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace, target = self.model.trace(images), self.teacher.trace(images)
        student, teacher = self.embeddings(trace.embedding, target.embedding)
        critic = cosines(student, teacher) / self.contrast_temperature
        carried = transport(student, teacher, self.regularisation, self.iterations)
        label = batch.labels(self.model.num_classes)
        losses = {
            "ce": self.gamma * F.cross_entropy(trace.logits, label),
            "dual": self.dual * wasserstein_dual(critic),
            "primal": self.primal * carried,
        }
        if self.alpha:
            losses["kd"] = self.alpha * kl(trace.logits, target.logits, self.temperature)
        return losses
