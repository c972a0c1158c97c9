from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Count, Losses, Method, Progress, Weight
from cohobate.losses import hint
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.connector import resized


class SimKD(Method[Classifier]):
    """All but the classifier learns nothing but the map that the teacher's classifier reads.

    Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022,
    https://arxiv.org/abs/2203.14001, section 3.2. L = beta mean (P(F) - F^T)² + CE(z, y): F is
    the map that a network's head pools, or where timm gives no such map (transformers), its
    embedding, P a bottleneck of 1 × 1, 3 × 3 and 1 × 1 convolutions with batch norm. The
    cross-entropy trains the head alone: no gradient of it reaches F.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    reduction: channels of the teacher's map for each of the bottleneck's, r.
    beta: weight of the feature term.

    Differs from the paper: there P and the teacher's own classifier are deployed on top of the
    student, which has no classifier. Here the student is deployed as it is, a plain network, so
    that its own classifier is trained beside, on features that it does not change, and P is
    dropped: what the paper publishes is of a larger network. P ends in batch norm, without a ReLU,
    since the maps of many networks are negative in places.
    """

    def __init__(
        self, model: Classifier, *, teacher: Classifier, reduction: Count = 2, beta: Weight = 1.0
    ):
        super().__init__(model)
        source, target = (last_width(network, model.size) for network in (model, teacher))
        middle = max(1, target // reduction)
        self.projector = nn.Sequential(
            *(nn.Conv2d(source, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
            *(nn.Conv2d(middle, middle, 3, 1, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
            *(nn.Conv2d(middle, target, 1, bias=False), nn.BatchNorm2d(target)),
        )
        self.teacher = Frozen(teacher)
        self.beta = beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        maps, features = last_map(self.model, images)
        with torch.no_grad():
            target, _ = last_map(self.teacher.net, images)
        height, width = min(maps.shape[-2:], target.shape[-2:])
        guess = self.projector(resized(maps, height, width))
        logits = self.model.net.forward_head(features.detach()).float()
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(logits, label),
            "feature": self.beta * hint(guess, resized(target, height, width)),
        }


def last_map(model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a network's head pools, or its embedding as one pixel; and what its head takes."""
    net: Any = model.net
    features = net.forward_features(model.normalise(images))
    if features.ndim == 4 and features.shape[1] == net.num_features:
        return features, features
    return net.forward_head(features, pre_logits=True).flatten(1)[:, :, None, None], features


@torch.no_grad()
def last_width(model: Classifier, size: int) -> int:
    """The channels of `last_map`, by a dry run."""
    mode, device = model.training, model.get_buffer("mean").device
    maps, _ = last_map(model.eval(), torch.zeros(1, 3, size, size, device=device))
    model.train(mode)
    return maps.shape[1]
