"""The learning rate as a function of the step, and which parameters move how."""

import itertools
from math import cos, pi

import pytest
import torch
from torch import nn

from cohobate.optim import Recipe


def recipe(**given) -> Recipe:
    return Recipe(**{"lr": 0.1, "warmup": 0.0, "weight_decay": 5e-4, "epochs": 10, **given})


def rates(optim: Recipe, per_epoch: int) -> list[float]:
    return [optim.rate(step, per_epoch) for step in range(optim.epochs * per_epoch)]


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step", "constant"])
@pytest.mark.parametrize("warmup", [0.5, 2, 4.7])
def test_warmup_rises_in_equal_steps_to_the_rate(schedule, warmup):
    found = rates(recipe(schedule=schedule, warmup=warmup, milestones=(8,)), 7)
    steps = warmup * 7
    warm = [k for k in range(70) if k < steps]
    assert [found[k] for k in warm] == pytest.approx([0.1 * (k + 1) / (steps + 1) for k in warm])
    assert found[0] > 0
    first = found[len(warm)]
    assert found[len(warm) - 1] < first <= 0.1
    assert first == pytest.approx(0.1, rel=0.01)


def test_cosine_ends_at_zero():
    found = rates(recipe(warmup=2), 10)
    assert found[20:] == pytest.approx(
        [0.05 * (1 + cos(pi * (step - 20) / 80)) for step in range(20, 100)]
    )
    assert found[20] == 0.1
    assert found[60] == pytest.approx(0.05)
    assert found[99] == pytest.approx(0.05 * (1 - cos(pi / 80)))
    assert all(later < earlier for earlier, later in itertools.pairwise(found[20:]))


def test_steps_at_the_milestones_counted_from_the_start():
    """MixSKD's CIFAR run: 5 warm-up epochs, then a tenth at epochs 105 and 155 of 205."""
    optim = recipe(epochs=205, warmup=5, schedule="step", milestones=(105, 155))
    at = {epoch: optim.rate(epoch * 782, 782) for epoch in (5, 104, 105, 154, 155, 204)}
    assert at == pytest.approx({5: 0.1, 104: 0.1, 105: 0.01, 154: 0.01, 155: 0.001, 204: 0.001})
    assert optim.rate(105 * 782 - 1, 782) == pytest.approx(0.1)
    assert recipe(schedule="step", milestones=(3,), gamma=0.5).rate(9, 3) == pytest.approx(0.05)


def test_constant():
    assert set(rates(recipe(schedule="constant", milestones=(3,)), 4)) == {0.1}


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step", "constant"])
def test_pytorchs_schedulers_agree(schedule):
    weights = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.1)
    lr = torch.optim.lr_scheduler
    scheduler = {
        "cosine": lr.CosineAnnealingLR(optimizer, 50),
        "poly": lr.PolynomialLR(optimizer, 50, power=0.9),
        "step": lr.MultiStepLR(optimizer, [20, 35]),
        "constant": lr.ConstantLR(optimizer, factor=1.0),
    }[schedule]
    expected = []
    for _ in range(50):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    optim = recipe(schedule=schedule, milestones=(4, 7))
    assert rates(optim, 5) == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def method() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return nn.ModuleDict(
        {"backbone": backbone, "head": nn.Linear(4, 2), "teacher": nn.Linear(4, 2)}
    )


def rows(optimizer: torch.optim.Optimizer, method: nn.Module) -> dict[str, tuple[float, float]]:
    """Scale and weight decay of every parameter; each stands in one group alone."""
    names = {id(p): name for name, p in method.named_parameters()}
    found = [
        (names[id(p)], (group["scale"], group["weight_decay"]))
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_trainable_parameter_moves_alike_by_default(method):
    method["teacher"].requires_grad_(False)
    optimizer = recipe().optimizer(method, method["backbone"].parameters())
    assert isinstance(optimizer, torch.optim.SGD)
    names = {name for name, p in method.named_parameters() if p.requires_grad}
    assert rows(optimizer, method) == dict.fromkeys(names, (1.0, 5e-4))
    assert len(optimizer.param_groups) == 1


def test_backbone_learns_at_its_own_rate(method):
    optim = recipe(backbone_lr=0.001)
    scale = rows(optim.optimizer(method, method["backbone"].parameters()), method)
    for name, (factor, _) in scale.items():
        assert factor == pytest.approx(0.01 if name.startswith("backbone.") else 1.0), name


def test_adamw_spares_biases_and_norms(method):
    optim = recipe(name="adamw", lr=1e-3, weight_decay=0.05, backbone_lr=1e-4)
    optimizer = optim.optimizer(method, method["backbone"].parameters())
    assert isinstance(optimizer, torch.optim.AdamW)
    found = rows(optimizer, method)
    assert len(found) == len(list(method.parameters()))
    assert {name for name, (_, decay) in found.items() if decay} == {
        "backbone.0.weight",
        "head.weight",
        "teacher.weight",
    }
    assert {decay for _, decay in found.values()} == {0.0, 0.05}
    assert found["backbone.1.weight"] == (pytest.approx(0.1), 0.0)


@pytest.mark.parametrize("momentum, nesterov", [(0.9, True), (0.9, False), (0.0, True)])
def test_sgd_moves_by_its_formula(momentum, nesterov):
    """v <- m v + g + wd w; w <- w - lr (g + wd w + m v) with nesterov, else w - lr v."""
    part = nn.Linear(3, 2, bias=False)
    optim = recipe(momentum=momentum, nesterov=nesterov, weight_decay=0.1)
    optimizer = optim.optimizer(part, [])
    weight, speed = part.weight.detach().double().clone(), torch.zeros(2, 3, dtype=torch.float64)
    for step in range(3):
        part.weight.grad = torch.full((2, 3), step + 1.0)
        slope = step + 1.0 + 0.1 * weight
        speed = momentum * speed + slope
        weight = weight - 0.1 * (slope + momentum * speed if nesterov and momentum else speed)
        optimizer.step()
    torch.testing.assert_close(part.weight.double(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "swa, epochs, first", [(0.75, 200, 150), (0.0, 3, 0), (0.3, 3, 1), (0.99, 5, 4), (0.5, 1, 0)]
)
def test_the_last_share_of_the_epochs_is_averaged(swa, epochs, first):
    optim = recipe(swa=swa, epochs=epochs)
    assert [optim.averages(epoch) for epoch in range(epochs)] == [
        epoch >= first for epoch in range(epochs)
    ]
    assert not recipe(epochs=epochs).averages(epochs - 1)


def test_nothing_else_is_accepted():
    with pytest.raises(TypeError):
        Recipe(learning_rate=0.1)
