import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import inter_class_similarity, kl
from cohobate.models import Classifier
from cohobate.modules import Frozen


class ICSD(Method[Classifier]):
    """Which classes are seen in the same places, pair by pair, is learned from the teacher.

    Mansourian et al., "AICSD: Adaptive Inter-Class Similarity Distillation for Semantic
    Segmentation", Multimedia Tools and Applications 2025, https://arxiv.org/abs/2308.04243.
    With P_i the softmax of class i's logits / T over the places of a map, or of a classifier over the
    images of the batch, and S_ij = KL(P_i || P_j), the paper's L = a CE(s, y) + (1 - a) [alpha
    KL_T(s <- t) + beta mean_ij (S_ij^s - S_ij^t)²], where the labels' share a = (e + 1) / (E + 1)
    grows with the epoch e of E, counted from zero: its adaptive loss weighting.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens the predictions of both other terms, T.
    alpha: weight of the distillation of each image's prediction, which carries the factor T².
    beta: weight of the distillation of the classes' similarities.
    adaptive: whether the labels' share grows; else L = CE + alpha KL + beta mean (S^s - S^t)².

    Differs from the paper, which is of segmentation: the weights and the temperature are ours. With
    `task="segmentation"` each map has its own S, as in the paper; with classification a batch of
    images stands for the pixels of a map. The labels' share ends a step below one, so that the
    teacher counts in every epoch, of a single one too.
    """

    tasks = ("classification", "segmentation")
    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 4.0,
        alpha: Weight = 1.0,
        beta: Weight = 10.0,
        adaptive: bool = True,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.alpha, self.beta = temperature, alpha, beta
        self.adaptive = adaptive

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        # Not `of`: a constant off in each row, which a softmax over the images would see.
        logits, target = self.model(images), self.teacher(images)
        label, T = batch.labels(self.model.num_classes), self.temperature
        ours = theirs = 1.0
        if self.adaptive:
            ours = (torch.as_tensor(progress.epoch) + 1) / (progress.epochs + 1)
            theirs = 1 - ours
        return {
            "ce": ours * F.cross_entropy(logits, label),
            "kd": theirs * self.alpha * kl(logits, target, T),
            "similarity": theirs * self.beta * inter_class_similarity(logits, target, T),
        }
