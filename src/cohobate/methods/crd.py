from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Share, Weight
from cohobate.distributed import gather
from cohobate.losses import kl, nce, total
from cohobate.models import Classifier
from cohobate.modules import Banks, Embeddings, Frozen
from cohobate.modules.banks import Contrast


class CRD(Method[Classifier]):
    """What two networks make of one image is told from what they make of images of other classes.

    Tian et al., "Contrastive Representation Distillation", ICLR 2020,
    https://arxiv.org/abs/1910.10699, section 3 and equation 18, with the memory of the authors' code
    (https://github.com/HobbitLong/RepDistiller). Both embeddings pass a linear layer of their own
    and get unit norm; h(a, b) = e^(ab / tau) / (e^(ab / tau) + K z), and
    L = gamma CE(s, y) + alpha KL_T(s <- t) - beta [log h(s, t) + sum over K others j of
    log(1 - h(s, t_j)) + the same with s and t exchanged].

    The rows of other images, and of the same one as a partner, are remembered from earlier steps;
    one that was never seen has a random direction. z is the mean of e^(ab / tau) in the first batch.

    teacher: the frozen network; it sees the same, equally mixed, images.
    width: numbers in a row that is remembered.
    negatives: images of other classes for each one, K.
    contrast_temperature: of the inner products, tau.
    momentum: share of what is remembered when a row is written again.
    gamma: weight of the cross-entropy.
    alpha: weight of KD beside it; the paper's CRD + KD has 1.
    temperature: softens both predictions in KD, T.
    beta: weight of the contrast.

    Differs from the paper: which images are drawn is a pure function of image and step, and one of
    the same class, as far as it has been seen, is left out rather than drawn anew; the others then
    count for all K. In the first epoch the partner is what the other network says now. Under mixing
    it is the mixture of what is remembered of both images, and neither's class is among the others.
    """

    partition: Tensor
    since: Tensor

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        samples: int,
        width: Count = 128,
        negatives: Count = 16384,
        contrast_temperature: Positive = 0.07,
        momentum: Share = 0.5,
        gamma: Weight = 1.0,
        alpha: Weight = 0.0,
        temperature: Positive = 4.0,
        beta: Weight = 0.8,
    ):
        super().__init__(model)
        self.embeddings = Embeddings(model, teacher, model.size, width)
        self.teacher = Frozen(teacher)
        self.banks = Banks(samples, width, negatives=negatives, momentum=momentum)
        self.register_buffer("partition", torch.zeros(2))
        self.register_buffer("since", torch.tensor(-1))
        self.temperature, self.contrast_temperature = temperature, contrast_temperature
        self.gamma, self.alpha, self.beta = gamma, alpha, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace, target = self.model.trace(images), self.teacher.trace(images)
        rows = self.embeddings(trace.embedding, target.embedding)
        student, teacher = (F.normalize(embedded.float()) for embedded in rows)
        found, apart = self.banks(batch, student, teacher, progress.step)
        tau = self.contrast_temperature
        scores = [Contrast(p / tau, n / tau) for p, n in found]
        partition = self._partition(scores, progress.step)
        contrast = total(nce(p, n, apart, z) for (p, n), z in zip(scores, partition))
        label = batch.labels(self.model.num_classes)
        losses = {
            "ce": self.gamma * F.cross_entropy(trace.logits, label),
            "contrast": self.beta * contrast,
        }
        if self.alpha:
            losses["kd"] = self.alpha * kl(trace.logits, target.logits, self.temperature)
        return losses

    @torch.no_grad()
    def _partition(self, scores: list[Contrast], step: Tensor | int) -> Tensor:
        """log z of either contrast (2,), kept from the first batch on, the same on all processes."""
        every = torch.stack([torch.cat([p[:, None], n], 1).flatten() for p, n in scores])
        now = gather((every.logsumexp(1) - log(every.shape[1]))[None]).mean(0)
        known = self.since >= 0
        self.partition.copy_(torch.where(known, self.partition, now))
        self.since.copy_(torch.where(known, self.since, torch.as_tensor(step).long()))
        return self.partition.clone()
