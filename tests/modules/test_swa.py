"""The mean of weights, and the statistics that belong to it."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from cohobate.core import Batch
from cohobate.models import Classifier
from cohobate.modules import SWA


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))


def batches(count: int = 3, *views: int) -> list[Batch]:
    draw, none = torch.Generator().manual_seed(1), torch.arange(5)
    return [Batch(torch.rand(5, *views, 3, 6, 6, generator=draw), none, none) for _ in range(count)]


def moved(net: nn.Module) -> None:
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(torch.ones_like(value) if value.ndim == 0 else torch.rand_like(value))


def test_the_weights_that_count_are_averaged(net):
    average, taken = SWA(net), []
    for counts in (False, False, True, True, True):
        moved(net)
        untouched = deepcopy(net.state_dict())
        average.follow(net, counts)
        torch.testing.assert_close(net.state_dict(), untouched, rtol=0, atol=0)
        taken += [deepcopy(net.state_dict())] * counts
        for key, value in average.net.state_dict().items():
            states = taken or [net.state_dict()]
            mean = sum(state[key].double() for state in states) / len(states)
            expected = mean if value.is_floating_point() else net.state_dict()[key].double()
            torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
        if len(taken) < 2:
            torch.testing.assert_close(average.net.state_dict(), untouched, rtol=0, atol=0)


@pytest.mark.parametrize("views", [(), (2,)])
def test_statistics_are_the_means_over_the_batches(net, views):
    average, seen = SWA(net), batches(3, *views)
    average.measure(seen)
    maps = [net[0](batch.images.reshape(-1, 3, 6, 6)).double() for batch in seen]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    var = torch.stack([m.transpose(0, 1).flatten(1).var(1) for m in maps]).mean(0)
    norm = average.net[1]
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-5)
    assert (norm.momentum, norm.num_batches_tracked.item()) == (0.1, 3)
    assert not any(module.training for module in average.net.modules())
    torch.testing.assert_close(average.net[0].weight, net[0].weight)


def test_no_generator_is_drawn_from(net):
    before = torch.get_rng_state()
    SWA(net).measure(batches())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_network_keeps_keeps_its_statistics():
    model = Classifier("cifar_resnet8", 5)
    model.freeze(1)
    average = SWA(model)
    draw, none = torch.Generator().manual_seed(1), torch.arange(4)
    average.measure([Batch(torch.rand(4, 3, 32, 32, generator=draw), none, none)])
    before, after = model.state_dict(), average.net.state_dict()
    other = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert other == {"layer2", "layer3"}


def test_a_network_without_batch_norm_is_not_run():
    def none():
        raise AssertionError("nothing to measure")
        yield

    SWA(nn.Linear(2, 2)).measure(none())


def test_stays_in_eval_mode_without_gradients(net):
    average = SWA(net.train()).train()
    assert not any(module.training for module in average.modules())
    assert not average(torch.rand(2, 3, 6, 6, requires_grad=True)).requires_grad
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_goes_on_from_its_state(net):
    average, twin = SWA(net), SWA(deepcopy(net))
    average.follow(net, True)
    moved(net)
    twin.load_state_dict(average.state_dict())
    for each in (average, twin):
        each.follow(net, True)
    torch.testing.assert_close(twin.state_dict(), average.state_dict(), rtol=0, atol=0)
    assert twin.count == 2
