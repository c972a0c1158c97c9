"""Features against their formulas, in float64 and with loops; the map is the same for a seed."""

import numpy as np
import pytest
import torch

from cohobate.analysis import embedding
from cohobate.core import Batch
from cohobate.models import Classifier

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(60, 7)) + 2
TARGETS = RANDOM.choice([0, 2, 3], size=60)  # of class 1 there is no image


def tensors():
    return torch.tensor(FEATURES, dtype=torch.float32), torch.tensor(TARGETS)


def means():
    return {k: FEATURES[k == TARGETS].mean(0) for k in set(TARGETS.tolist())}


def test_scatter_is_its_formula():
    centre, own = FEATURES.mean(0), means()
    within = between = 0.0
    for feature, target in zip(FEATURES, TARGETS.tolist()):
        within += np.trace(np.outer(feature - own[target], feature - own[target]))
        between += np.trace(np.outer(own[target] - centre, own[target] - centre))
    assert embedding.scatter_ratio(*tensors()) == pytest.approx(within / between, rel=1e-5)


def test_cosine_and_norms_are_their_formulas():
    own, cosines = means(), []
    for feature, target in zip(FEATURES, TARGETS.tolist()):
        mean = own[target]
        cosines.append(feature @ mean / np.linalg.norm(feature) / np.linalg.norm(mean))
    assert embedding.cosine_to_centroid(*tensors()) == pytest.approx(np.mean(cosines), rel=1e-6)
    lengths = [sum(value**2 for value in feature) ** 0.5 for feature in FEATURES]
    assert embedding.norms(tensors()[0]).tolist() == pytest.approx(lengths, rel=1e-6)


def test_classes_that_are_points():
    features, targets = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 0, 1])
    assert embedding.scatter_ratio(features, targets) == 0
    assert embedding.cosine_to_centroid(features, targets) == pytest.approx(1)
    assert embedding.scatter_ratio(torch.ones(3, 2), targets) is None


@pytest.mark.parametrize("arch", ["cifar_resnet8", "resnet10t", "vit_tiny_patch16_224"])
def test_outputs_are_those_of_the_network(arch):
    options = {"img_size": 32, "patch_size": 8} if "vit" in arch else {}
    network = Classifier(arch, 3, **options).train()
    images, targets = torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    batches = [Batch(images[k::2], targets[k::2], torch.arange(6)[k::2]) for k in (0, 1)]
    seen = embedding.outputs(network, batches)
    assert network.training
    network.eval()
    order = [0, 2, 4, 1, 3, 5]
    with torch.no_grad():
        logits = network(images[order])
        trace = network.trace(images[order])
    torch.testing.assert_close(seen.logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.features, trace.embedding, rtol=1e-4, atol=1e-5)
    assert seen.targets.tolist() == targets[order].tolist()


def test_the_map_is_the_same_for_a_seed():
    features = tensors()[0]
    first, again = (embedding.tsne(features, seed=3) for _ in range(2))
    assert first.shape == (60, 2)
    assert torch.equal(first, again)


def test_the_map_parts_what_lies_apart():
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    features[20:] += 50
    places = embedding.tsne(features)
    own = torch.cdist(places, places) + 1e9 * torch.eye(40)
    assert (own.argmin(1) // 20 == torch.arange(40) // 20).all()


def test_a_map_of_few():
    assert embedding.tsne(torch.eye(4)).isfinite().all()
    with pytest.raises(ValueError, match="4 images or more, and there are 3"):
        embedding.tsne(torch.eye(3))
