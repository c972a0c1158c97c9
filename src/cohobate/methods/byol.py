from math import pi
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from cohobate.core import Batch, Count, Losses, Method, Progress, Weight
from cohobate.losses import squared_chord
from cohobate.models import Classifier
from cohobate.modules import EMA
from cohobate.modules.connector import shapes


class BYOL(Method[Classifier]):
    """The network foretells from one view what its moving average makes of another.

    Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS
    2020, https://arxiv.org/abs/2006.07733, section 3.1. With f the embedding of a view, g a
    projector, q a predictor, and f', g' the moving averages of network and projector,
    L = CE(z, y) + alpha sum |q(g(f_i)) - g'(f'_j)|² over (i, j) = (1, 2) and (2, 1), all vectors
    over their norms: 2 - 2 cos. The averages' decay rises from tau to 1 as a cosine of the steps.
    Projector and predictor are two linear layers each, with batch norm and ReLU between; neither is
    deployed.

    decay: of both averages in the first step, tau.
    alpha: weight of the regression, of which 8 is the most and about 4 that of chance.
    width: between the two layers of projector and predictor.
    dimension: of the vectors that are compared.

    Differs from the paper: the labels are learned beside, from both views, so that alpha is ours.
    The views pass the network at once, and batch norms see both. The averages are in eval mode; in
    the paper they normalise by their own batch. Weights that decay are those of [optim]; the paper
    leaves out biases and batch norms, and trains with LARS.
    """

    views = 2

    def __init__(
        self,
        model: Classifier,
        *,
        decay: Annotated[float, Ge(0), Lt(1)] = 0.996,
        alpha: Weight = 1.0,
        width: Count = 4096,
        dimension: Count = 256,
    ):
        super().__init__(model)
        self.projector = perceptron(shapes(model, model.size).embedding, width, dimension)
        self.predictor = perceptron(dimension, width, dimension)
        self.target, self.target_projector = EMA(model, decay), EMA(self.projector, decay)
        self.decay, self.alpha = decay, alpha

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        first, second = batch.inputs.unbind(1)
        trace = self.model.trace(torch.cat([first, second]))
        guess = self.predictor(self.projector(trace.embedding))
        target = self.target_projector(self.target.trace(torch.cat([second, first])).embedding)
        label = batch.labels(self.model.num_classes).repeat(2, 1)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "regression": self.alpha * 2 * squared_chord(guess, target),  # a mean over both views
        }

    def after_step(self, progress: Progress) -> None:
        passed = torch.as_tensor(progress.step) / progress.steps
        decay: Tensor = 1 - (1 - self.decay) * (torch.cos(pi * passed) + 1) / 2
        self.target.follow(self.model, decay=decay)
        self.target_projector.follow(self.projector, decay=decay)


def perceptron(inside: int, width: int, outside: int) -> nn.Sequential:
    """Two linear layers, with batch norm and ReLU between."""
    return nn.Sequential(
        nn.Linear(inside, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, outside),
    )
