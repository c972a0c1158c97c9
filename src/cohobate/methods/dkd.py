import torch.nn.functional as F

from cohobate.core import Batch, Epochs, Losses, Method, Positive, Progress, Weight
from cohobate.losses import dkd, standardised
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.ramp import warm_up


class DKD(Method[Classifier]):
    """What a teacher says of the label's class, and of all others, are learnt apart.

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022,
    https://arxiv.org/abs/2203.08679, equation 7.
    L = gamma CE(s, y) + min((e + 1) / warmup, 1) T² [alpha KL(b_s <- b_t) + beta KL(n_s <- n_t)] in
    epoch e, counted from zero: b is "the label's class, or another", n which of the others, both of
    logits over T. Plain KD weighs the second by what the teacher leaves for the others.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens both predictions, T.
    gamma: weight of the cross-entropy.
    alpha, beta: weights of the label's class and of the others; the authors choose beta by the pair
        of networks, and 8 for ResNet-32x4 and ResNet-8x4.
    warmup: epochs in which the distillation term rises, half of all at most.
    standardise: divide the logits of both, row by row, by their deviation over the classes: logit
        standardisation, https://arxiv.org/abs/2403.01427, with temperature 2 there.

    Differs from the paper: a mixed image has the loss with either label, by its share.
    """

    recalls = "all"  # of the classes that are not the label's, the small ones count as well

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 4.0,
        gamma: Weight = 1.0,
        alpha: Weight = 1.0,
        beta: Weight = 8.0,
        warmup: Epochs = 20,
        standardise: bool = False,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.gamma, self.alpha, self.beta = temperature, gamma, alpha, beta
        self.warmup, self.standardise = warmup, standardise

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        logits, teacher = self.model(images), self.teacher.of(batch, images)
        label = batch.labels(self.model.num_classes)
        student = logits
        if self.standardise:
            student, teacher = standardised(logits), standardised(teacher)
        weights = {"alpha": self.alpha, "beta": self.beta, "temperature": self.temperature}
        distilled = batch.over_labels(lambda targets: dkd(student, teacher, targets, **weights))
        return {
            "ce": self.gamma * F.cross_entropy(logits, label),
            "kd": warm_up(progress, self.warmup) * distilled,
        }
