from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Lt

from cohobate.core import Batch, Losses, Method, Progress, Share, Weight
from cohobate.losses import kl, probability_error
from cohobate.models import Classifier
from cohobate.modules import EMA
from cohobate.modules.ramp import Ramp


class MeanTeacher(Method[Classifier]):
    """The moving average of the network's weights says of one view what it should say of another.

    Tarvainen and Valpola, "Mean teachers are better role models: Weight-averaged consistency targets
    improve semi-supervised deep learning results", NeurIPS 2017,
    https://arxiv.org/abs/1703.01780, section 2. With logits z of the first view and t the average's
    of the second, L = CE(z, y) + r alpha D(z <- t), where r rises as exp(-5 (1 - e)²).

    decay: of the average, in each step; in step k it is 1 - 1 / k at most, so that a short training
        has an average as well.
    alpha: weight of the consistency term, 100 for the mean squared error, which is a mean over the
        classes; the divergence is a sum over them, and 1 suits it.
    distance: D, the mean squared error of the probabilities or the Kullback-Leibler divergence.
    ramp_end: share of the epochs in which alpha rises; of 200 epochs the first five.

    Differs from the paper: all images have labels. The network itself is deployed, not the average
    (optim.ema deploys one); the average has one decay throughout, and is in eval mode.
    """

    tasks = ("classification", "segmentation")

    views = 2

    def __init__(
        self,
        model: Classifier,
        *,
        decay: Annotated[float, Ge(0), Lt(1)] = 0.999,
        alpha: Weight = 100.0,
        distance: Literal["mse", "kl"] = "mse",
        ramp_end: Share = 0.025,
    ):
        super().__init__(model)
        self.teacher = EMA(model, decay)
        self.alpha = alpha
        self.distance = probability_error if distance == "mse" else kl
        self.ramp = Ramp(0.0, ramp_end)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        first, second = batch.inputs.unbind(1)
        logits = self.model(first)
        distance = self.distance(logits, self.teacher(second))
        return {
            "ce": F.cross_entropy(logits, batch.labels(self.model.num_classes)),
            "consistency": self.ramp(progress) * self.alpha * distance,
        }

    def after_step(self, progress: Progress) -> None:
        self.teacher.follow(self.model, progress.step)
