"""Attacks on linear networks, where the worst change is known; and what no attack may do."""

import pytest
import torch
from torch import nn

from cohobate.analysis import robustness
from cohobate.core import Batch

EPSILON = 8 / 255


class Linear(nn.Module):
    """Logits 0 and w·x + b: of two classes, so that the worst change is -+epsilon sign(w)."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(3, 4, 4, generator=generator))
        self.bias = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        score = (self.dropout(images) * self.weight).sum((1, 2, 3)) + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def network():
    return Linear().eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(30, 3, 4, 4, generator=generator)
    images[:10] = images[:10].round()  # black and white: one way only is open
    return Batch(images, torch.arange(30) % 2, torch.arange(30))


def worst(network, batch, epsilon):
    """The change that costs each image most, value by value: the loss rises with -+ w·x."""
    images = batch.images.double()
    for row, target in enumerate(batch.targets.tolist()):
        way = network.weight.detach().sign() * (-1 if target else 1)
        images[row] = (images[row] + epsilon * way).clamp(0, 1)
    return images


def attacked(network, batch, epsilon, **options):
    slope = robustness.gradient(network, batch.images, batch.targets)
    return {
        "fgsm": robustness.fgsm(batch.images, slope, epsilon),
        "pgd": robustness.pgd(network, batch.images, batch.targets, epsilon, **options),
    }


@pytest.mark.parametrize("epsilon", [EPSILON, 0.3])
def test_on_a_linear_network_attacks_find_the_worst(network, batch, epsilon):
    start = 2 * torch.rand_like(batch.images) - 1
    for moved in attacked(network, batch, epsilon, start=start).values():
        torch.testing.assert_close(moved.double(), worst(network, batch, epsilon))


def test_one_step_of_pgd_without_a_random_start_is_fgsm(network, batch):
    moved = attacked(network, batch, EPSILON, steps=1, step_size=EPSILON)
    torch.testing.assert_close(moved["pgd"], moved["fgsm"])


def test_pgd_takes_steps_of_the_size_asked_for(network, batch):
    free = batch._replace(images=batch.images * 0 + 0.5)
    moved = attacked(network, free, 0.2, steps=3, step_size=0.01)["pgd"]
    torch.testing.assert_close((moved - free.images).abs(), torch.full_like(moved, 0.03))


def curved():
    """A network on which the gradient turns on the way."""
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)
    net = nn.Sequential(*layers)
    for layer in (net[1], net[3]):
        nn.init.normal_(layer.weight, std=1.5)
    return net.eval()


@pytest.mark.parametrize("epsilon", [0, 1 / 255, EPSILON, 1])
def test_attacks_stay_in_the_box_and_raise_the_loss(batch, epsilon):
    network = curved()
    start = 2 * torch.rand_like(batch.images) - 1
    before = nn.functional.cross_entropy(network(batch.images), batch.targets)
    for name, moved in attacked(network, batch, epsilon, start=start).items():
        assert (moved - batch.images).abs().max() <= epsilon + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1
        after = nn.functional.cross_entropy(network(moved), batch.targets)
        assert after > before if epsilon in (1 / 255, EPSILON) else after >= 0, name
        assert (epsilon == 0) == torch.equal(moved, batch.images)


def accuracy(network, images, targets):
    return float((network(images).argmax(1) == targets).double().mean())


def test_the_sweep_counts_what_survives(network, batch):
    epsilons = [0, 0.01, 0.05, 0.4]
    labels = network(batch.images).argmax(1)
    labels[:3] = 1 - labels[:3]  # three wrong from the start
    batch = batch._replace(targets=labels)
    found = robustness.sweep(network, [batch], epsilons)
    survivors = [
        accuracy(network, worst(network, batch, e).float(), batch.targets) for e in epsilons
    ]
    assert survivors[0] == pytest.approx(0.9)
    assert survivors[0] > survivors[1] > survivors[2] > survivors[3]
    assert found.epsilons == epsilons
    assert found.fgsm == pytest.approx(survivors)
    assert found.pgd == pytest.approx(survivors)


def test_the_sweep_depends_neither_on_batches_nor_on_the_mode(batch):
    network = curved()
    parts = [Batch(*(field[k : k + 7] for field in batch[:3])) for k in range(0, 30, 7)]
    whole = robustness.sweep(network, [batch], [0, 0.05, 0.1])
    assert robustness.sweep(network, parts, [0, 0.05, 0.1]) == whole
    assert robustness.sweep(network, [batch], [0, 0.05, 0.1], seed=1).fgsm == whole.fgsm


def test_the_sweep_leaves_the_network_as_it_is(network, batch):
    network.train()
    still = {name: value.clone() for name, value in network.state_dict().items()}
    first, again = (robustness.sweep(network, [batch], [EPSILON]) for _ in range(2))
    assert first == again  # dropout drew nothing
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(network.state_dict()[name], value) for name, value in still.items())
    robustness.gradient(network, batch.images, batch.targets)
    assert all(p.grad is None for p in network.parameters())
    assert not batch.images.requires_grad


@pytest.mark.parametrize("epsilon", [-0.1, 8, float("nan")])
def test_an_epsilon_is_a_share(network, batch, epsilon):
    with pytest.raises(ValueError, match="from 0 to 1, such as 8/255"):
        robustness.sweep(network, [batch], [0, epsilon])
