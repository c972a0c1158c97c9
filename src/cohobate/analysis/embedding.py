"""What a network makes of images just before its classifier: their features, in numbers and on a map."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from cohobate.core import Batch
from cohobate.models import Classifier

FEWEST = 4
"""Points without which there is no map: t-SNE takes each one's neighbours out of the others."""


class Outputs(NamedTuple):
    """What a network says of N images.

    features: (N, D), the classifier's input. logits: (N, C). Both are float32, on its device.
    targets: (N,), the classes that the images have.
    """

    features: Tensor
    logits: Tensor
    targets: Tensor


def outputs(
    network: Classifier,
    batches: Iterable[Batch],
    autocast: AbstractContextManager[Any] | None = None,
) -> Outputs:
    """Features and logits of all batches, in one pass and in eval mode."""
    net: Any = network.net
    was_training = network.training
    network.eval()
    rows = []
    with torch.inference_mode(), autocast or nullcontext():
        for batch in batches:
            final = net.forward_features(network.normalise(batch.images))
            features = net.forward_head(final, pre_logits=True).flatten(1)
            rows.append(Outputs(features.float(), net.forward_head(final).float(), batch.targets))
    network.train(was_training)
    return Outputs(*map(torch.cat, zip(*rows)))


def norms(features: Tensor) -> Tensor:
    """The Euclidean length of each row (N,)."""
    return features.double().norm(dim=1)


def centroids(features: Tensor, targets: Tensor) -> Tensor:
    """For each row, the mean of its class (N, D), float64."""
    _, own, count = targets.unique(return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(count), features.shape[1], dtype=torch.float64)
    return (sums.index_add_(0, own, features.double()) / count[:, None])[own]


def scatter_ratio(features: Tensor, targets: Tensor) -> float | None:
    """tr(S_w) / tr(S_b): how wide the classes are, measured by how far they lie apart.

    S_w is the scatter of features around the mean of their class, S_b that of these means, each
    counted once an image, around the mean of all (Fukunaga, Introduction to Statistical Pattern
    Recognition, 1990, chapter 10). None where all class means are one point.
    """
    means = centroids(features, targets)
    within = (features.double() - means).square().sum()
    between = (means - means.mean(0)).square().sum()
    return float(within / between) if between > 0 else None


def cosine_to_centroid(features: Tensor, targets: Tensor) -> float:
    """The cosine between a feature and the mean of its class, averaged over images: 1 is tightest."""
    cosine = torch.cosine_similarity(features.double(), centroids(features, targets))
    return float(cosine.mean())


def tsne(features: Tensor, *, seed: int = 0, perplexity: float = 30) -> Tensor:
    """A map (N, 2) on which images with similar features lie close; the same for the same seed.

    van der Maaten and Hinton, JMLR 9 (2008), started from the first two principal components.
    perplexity: about how many neighbours count; cut to a third of the images.

    Raises ValueError for fewer than 4 images.
    """
    if len(features) < FEWEST:
        raise ValueError(f"t-SNE needs {FEWEST} images or more, and there are {len(features)}")
    method = TSNE(
        init="pca", random_state=seed, perplexity=min(perplexity, (len(features) - 1) / 3)
    )
    with threadpool_limits(1):  # the order in which threads end would show in the map
        return torch.from_numpy(method.fit_transform(features.cpu().numpy()))
