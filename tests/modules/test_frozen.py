"""Networks that predict and are not trained."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from cohobate.core import Batch
from cohobate.models import Classifier
from cohobate.modules import EMA, Frozen, frozen_keys


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())


def test_frozen_stays_in_eval_mode_without_gradients(net):
    images = torch.rand(2, 3, 5, 5)
    expected = deepcopy(net).eval()(images)
    holder = nn.Sequential(Frozen(net)).train()
    before = deepcopy(holder.state_dict())
    torch.testing.assert_close(holder(images), expected, rtol=0, atol=0)
    assert not holder(images.requires_grad_()).requires_grad
    torch.testing.assert_close(holder.state_dict(), before, rtol=0, atol=0)
    assert holder.training
    assert not any(module.training for module in holder[0].modules())
    assert not any(p.requires_grad for p in holder.parameters())


def test_frozen_traces_without_gradients():
    torch.manual_seed(0)
    model = Classifier("cifar_resnet8", 5)
    frozen = Frozen(model).train()
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    trace = frozen.trace(images)
    torch.testing.assert_close(trace.logits, model(images))
    values = (trace.logits, trace.embedding, *trace.stages)
    assert not any(value.requires_grad for value in values)


def test_frozen_says_what_is_known_already():
    model = Classifier("cifar_resnet8", 5)
    frozen, images = Frozen(model), torch.rand(2, 3, 32, 32)
    batch = Batch(images, torch.zeros(2), torch.arange(2))
    assert torch.equal(frozen.of(batch, images), model(images))
    taught = torch.rand(2, 5)
    assert frozen.of(batch._replace(taught=taught), images) is taught


def test_frozen_keys(net):
    assert frozen_keys(net) == set()
    holder = nn.ModuleDict({"model": deepcopy(net), "teacher": Frozen(net), "teachers": net[0]})
    keys = frozen_keys(holder)
    assert keys == {f"teacher.net.{key}" for key in net.state_dict()}
    inner = nn.ModuleDict({"method": holder})
    assert frozen_keys(inner) == {f"method.{key}" for key in keys}
    assert keys < holder.state_dict().keys()


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_ema_follows_the_formula(net, decay):
    """w <- d w + (1 - d) w', for weights and running statistics alike; counters are copied."""
    average = EMA(net, decay)
    expected = {key: value.double().clone() for key, value in net.state_dict().items()}
    for step in range(3):
        with torch.no_grad():
            for value in net.state_dict().values():
                value.add_(step + 1)
        untouched = deepcopy(net.state_dict())
        average.follow(net)
        torch.testing.assert_close(net.state_dict(), untouched, rtol=0, atol=0)
        for key, value in net.state_dict().items():
            kept = decay if value.is_floating_point() else 0.0
            expected[key] = kept * expected[key] + (1 - kept) * value.double()
    assert net[1].num_batches_tracked.item() == 6
    actual = average.net.state_dict()
    assert actual["1.num_batches_tracked"].dtype == torch.int64
    for key, value in actual.items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)


def test_ema_stays_in_eval_mode_without_gradients(net):
    average = EMA(net.train(), 0.9).train()
    images = torch.rand(2, 3, 5, 5, requires_grad=True)
    torch.testing.assert_close(average(images), deepcopy(net).eval()(images))
    assert not average(images).requires_grad
    assert not any(module.training for module in average.modules())
    assert not any(p.requires_grad for p in average.parameters())
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_ema_goes_on_from_its_state(net):
    average, twin = EMA(net, 0.5), EMA(deepcopy(net), 0.5)
    nn.init.ones_(net[0].weight)
    average.follow(net)
    twin.load_state_dict(average.state_dict())
    for ema in (average, twin):
        ema.follow(net)
    torch.testing.assert_close(twin.state_dict(), average.state_dict(), rtol=0, atol=0)


def test_an_average_that_knows_the_step_forgets_its_first_weights():
    torch.manual_seed(0)
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    average = EMA(net, 0.9)
    average.follow(other, torch.tensor(0))
    torch.testing.assert_close(average.net.state_dict(), other.state_dict())
    average.follow(net, 1)  # the mean of two
    torch.testing.assert_close(average.net.weight, (net.weight + other.weight).detach() / 2)
    average.follow(net, 10**6)
    expected = 0.9 * (net.weight + other.weight) / 2 + 0.1 * net.weight
    torch.testing.assert_close(average.net.weight, expected.detach())
