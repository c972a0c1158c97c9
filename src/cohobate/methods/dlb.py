import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import kl
from cohobate.models import Classifier
from cohobate.modules import Memory


class DLB(Method[Classifier]):
    """What the network said of an image one step ago, in another view, is its target now.

    Shen et al., "Self-Distillation from the Last Mini-Batch for Consistency Regularization",
    CVPR 2022, https://arxiv.org/abs/2203.16172, section 3. The first half of a batch is the second half of
    the batch before, augmented anew. With z the logits of all, and z_t, z_(t-1) those of the first
    half now and a step ago, L = CE(z, y) + alpha KL_T(z_t <- sg z_(t-1)). Every image is seen twice
    an epoch: batches of 2n make as many steps as batches of n do elsewhere.

    temperature: softens both sides of the KL term, T.
    alpha: weight of the KL term.

    Differs from the paper: an image that is not of the step before, as in the very first step, has
    no target. Unlike in the authors' code, both halves pass the network at once. Under mixing the
    labels are of the mixtures, and the KL term is of the images as they are, which pass the network
    beside them: a step ago an image was in another mixture, of which nothing is to be learnt about
    this one. The loader makes both views of all images, of which each is seen in one: what it draws
    is the same for every row of a batch.
    """

    repeats = True
    views = 2

    def __init__(
        self,
        model: Classifier,
        *,
        samples: int,
        temperature: Positive = 3.0,
        alpha: Weight = 1.0,
    ):
        super().__init__(model)
        self.temperature, self.alpha = temperature, alpha
        self.memory = Memory("logits of the last batch", samples, model.num_classes)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        half = len(batch.ids) // 2
        images = torch.cat([batch.images[:half, 1], batch.images[half:, 0]])
        if batch.mix is None:
            logits = plain = self.model(images)
        else:
            both = torch.cat([batch.mix.blend(images), images])
            logits, plain = self.model(both).chunk(2)
        again = plain[:half]
        past, steps = self.memory.read(batch.ids[:half])
        recent = (steps >= 0) & (steps >= progress.step - 1)
        target = torch.where(recent[:, None], past, again)  # nothing is learnt from oneself
        self.memory.write(batch.ids[half:], plain[half:], progress.step)
        return {
            "ce": F.cross_entropy(logits, batch.labels(self.model.num_classes)),
            "last": self.alpha * kl(again, target, self.temperature),
        }
