"""What the methods that mix within a network compute, with loops in float64."""

from collections import Counter
from math import exp, log

import numpy as np
import pytest
import torch
from scipy import stats

from cohobate.core import Batch, Mixture, Progress
from cohobate.methods.manifold_mixup import ManifoldMixup
from cohobate.methods.mixup import Mixup
from cohobate.models import Classifier

CLASSES, SIZE, ROWS = 5, 32, 4
NOW = Progress(torch.tensor(0), 1, torch.tensor(0), 1)
PARTNER, WEIGHT = [2, 0, 3, 1], [0.9, 0.25, 1.0, 0.6]


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier("cifar_wrn_16_2", CLASSES).eval()


@pytest.fixture
def batch() -> Batch:
    images = torch.rand(ROWS, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.tensor([0, 3, 1, 3]), torch.arange(ROWS))


def mixed(value: torch.Tensor) -> torch.Tensor:
    """weight_b v_b + (1 - weight_b) v_partner(b), row by row, in float64."""
    rows = value.detach().double().numpy()
    pairs = zip(range(ROWS), PARTNER, WEIGHT)
    return torch.from_numpy(np.stack([w * rows[b] + (1 - w) * rows[p] for b, p, w in pairs]))


def cross_entropy(logits: torch.Tensor, targets: list[int]) -> float:
    """Mean of -w log p(y_i) - (1 - w) log p(y_j)."""
    found = 0.0
    for b, row in enumerate(logits.tolist()):
        norm = log(sum(exp(z) for z in row))
        found -= WEIGHT[b] * (row[targets[b]] - norm)
        found -= (1 - WEIGHT[b]) * (row[targets[PARTNER[b]]] - norm)
    return found / ROWS


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_manifold_mixup_mixes_at_the_layer_that_was_drawn(model, batch, layer):
    method = ManifoldMixup(model, deepest=3)
    mix = Mixture(torch.tensor(PARTNER), torch.tensor(WEIGHT), layer=torch.full((ROWS,), layer))
    loss = method(batch._replace(mix=mix), NOW)["ce"].item()
    twin = model.double()
    values = (batch.images.double() - twin.mean) / twin.std
    for k, name in enumerate(("stem", "layer1", "layer2", "layer3")):
        if k == 0 and layer == 0:
            values = mixed(values)
        values = getattr(twin.net, name)(values)
        if k == layer > 0:
            values = mixed(values)
    logits = twin.net.head.fc(twin.net.final(values).mean((2, 3)))
    assert loss == pytest.approx(cross_entropy(logits, batch.targets.tolist()), rel=1e-5)


def test_manifold_mixup_of_images_that_are_mixed_already_is_mixup(model, batch):
    mix = Mixture(torch.tensor(PARTNER), torch.tensor(WEIGHT))
    losses = [kind(model)(batch._replace(mix=mix), NOW) for kind in (ManifoldMixup, Mixup)]
    torch.testing.assert_close(*losses)


def test_manifold_mixup_without_a_mixture_is_plain_training(model, batch):
    losses = ManifoldMixup(model)(batch, NOW)
    torch.testing.assert_close(losses, model.losses(batch))


def test_manifold_mixup_draws_each_layer_equally_often(model, batch):
    method, draw = ManifoldMixup(model, deepest=3), torch.Generator().manual_seed(0)
    layers = [method.mixed(batch, draw).mix.layer for _ in range(400)]
    assert all((layer == layer[0]).all() for layer in layers)
    counts = Counter(int(layer[0]) for layer in layers)
    assert sorted(counts) == [0, 1, 2, 3]
    assert stats.chisquare([*counts.values()]).pvalue > 1e-3


def test_manifold_mixup_trains_the_network_that_is_deployed(model, batch):
    """Nothing is added to it, and every weight that it has learns at every layer drawn."""
    method = ManifoldMixup(model).train()
    assert {name.removeprefix("model.") for name in method.state_dict()} == {*model.state_dict()}
    for layer in range(3):
        method.zero_grad()
        mix = Mixture(torch.tensor(PARTNER), torch.tensor(WEIGHT), layer=torch.full((ROWS,), layer))
        method(batch._replace(mix=mix), NOW)["ce"].backward()
        assert all(p.grad.abs().sum() > 0 for p in model.net.parameters())


def test_manifold_mixup_refuses_a_layer_that_is_not_there(model):
    with pytest.raises(ValueError, match=r"method\.deepest=4: 'cifar_wrn_16_2' has 3 stages"):
        ManifoldMixup(model, deepest=4)
