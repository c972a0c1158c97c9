from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share
from cohobate.losses import virtual_kl, virtual_teacher
from cohobate.models import Classifier


class TfKD(Method[Classifier]):
    """A teacher made up by hand, always right and never quite sure, stands beside the labels.

    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020,
    https://arxiv.org/abs/1909.11723, section 5: Tf-KD with a designed teacher. With q the
    probabilities `correct` on the class and (1 - correct) / (C - 1) on every other,
    L = (1 - alpha) CE(z, y) + alpha KL(softmax(q / T) || softmax(z)).

    correct: the teacher's probability of the class, a.
    temperature: softens the teacher, T.
    alpha: weight of the KL term.
    variant: "released" is Self-KD-Lib's (https://github.com/winycg/Self-KD-Lib), with `correct` at
        0.9 and without alpha: L = CE(z, y) - sum_c (q_c / T) log softmax(z / T)_c. The two
        divisions by T leave the second term a five-hundredth of the gradient of the first.

    Differs from the paper: the teacher is softened as in the authors' code
    (https://github.com/yuanli2333/Teacher-free-Knowledge-Distillation): by a softmax of its
    probabilities, after which it is all but even, and the student is not softened. Their factor
    of 100 on a mean over classes is 1 on a sum over 100 of them. A mixed image has the teachers
    of both classes by their shares.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        correct: Share = 0.99,
        temperature: Positive = 20.0,
        alpha: Share = 0.1,
        variant: Literal["paper", "released"] = "paper",
    ):
        super().__init__(model)
        self.correct, self.temperature = correct, temperature
        self.alpha, self.variant = alpha, variant

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = self.model(batch.inputs)
        classes, T = self.model.num_classes, self.temperature
        gamma, alpha = (1, 1) if self.variant == "released" else (1 - self.alpha, self.alpha)

        def teaching(targets: Tensor) -> Tensor:
            teacher = virtual_teacher(targets, classes, self.correct)
            if self.variant == "released":
                return F.cross_entropy(logits / T, teacher / T, reduction="none")
            return virtual_kl(logits, teacher, T)

        return {
            "ce": gamma * F.cross_entropy(logits, batch.labels(classes)),
            "virtual": alpha * batch.over_labels(teaching),
        }
