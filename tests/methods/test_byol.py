"""BYOL beside the labels, against its formulas written with loops in float64."""

from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from test_values import CLASSES, MIX, PARTNER, ROWS, WEIGHT, array, cross_entropy, mixed, one_hot
from torch import nn

from cohobate.core import Progress
from cohobate.losses import total
from cohobate.methods.byol import BYOL

Array = np.ndarray


def at(step: int, steps: int = 8) -> Progress:
    return Progress(torch.tensor(0), 1, torch.tensor(step), steps)


def through(layers: Any, rows: Array, *, trained: bool) -> Array:
    """Linear, batch norm, ReLU, linear; batch norm by the rows themselves, or by what it remembers."""
    first, norm, _, last = layers
    hidden = rows @ array(first.weight).T
    if trained:
        mean = sum(hidden) / len(hidden)
        variance = sum((row - mean) ** 2 for row in hidden) / len(hidden)
    else:
        mean, variance = array(norm.running_mean), array(norm.running_var)
    scaled = (hidden - mean) / np.sqrt(variance + norm.eps)
    active = np.maximum(0, array(norm.weight) * scaled + array(norm.bias))
    return active @ array(last.weight).T + array(last.bias)


def chord(a: Array, b: Array) -> float:
    """The squared distance of two vectors over their norms."""
    gap = a / sum(x * x for x in a) ** 0.5 - b / sum(x * x for x in b) ** 0.5
    return sum(x * x for x in gap)


@pytest.fixture
def method(model) -> BYOL:
    """One whose averages, and the statistics of their norms, are not what is trained."""
    method = BYOL(model, alpha=0.3, width=10, dimension=6)
    draw = torch.Generator().manual_seed(4)
    for average in (method.target, method.target_projector):
        for value in average.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.5 + torch.rand(value.shape, generator=draw))
    return method


@pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])
def test_byol(method, batch, mix):
    views = [batch.images, batch.images.roll(5, -1).flip(-1)]
    given = batch._replace(images=torch.stack(views, 1), mix=mix)
    label = one_hot(batch.targets)
    if mix is not None:
        views = [torch.from_numpy(mixed(array(v), PARTNER, WEIGHT)).float() for v in views]
        label = mixed(label, PARTNER, WEIGHT)
    losses = {name: loss.item() for name, loss in method(given, at(0)).items()}

    trace = method.model.trace(torch.cat(views))  # batch norms see both views at once
    guess = through(
        method.predictor,
        through(method.projector, array(trace.embedding), trained=True),
        trained=True,
    )
    expected = 0.0
    for mine, theirs in [(0, 1), (1, 0)]:
        seen = array(method.target.net.trace(views[theirs]).embedding)
        target = through(method.target_projector.net, seen, trained=False)
        rows = [chord(guess[mine * ROWS + b], target[b]) for b in range(ROWS)]
        expected += sum(rows) / ROWS
    assert 0.5 < expected < 7.5
    logits = array(trace.logits)
    ce = (cross_entropy(logits[:ROWS], label) + cross_entropy(logits[ROWS:], label)) / 2
    assert logits.shape == (2 * ROWS, CLASSES)
    assert losses == pytest.approx({"ce": ce, "regression": 0.3 * expected}, rel=1e-4)


def test_byol_has_the_papers_settings(model):
    method = BYOL(model)
    layers = [*method.projector, *method.predictor]
    widths = [(x.in_features, x.out_features) for x in layers if isinstance(x, nn.Linear)]
    assert widths == [(64, 4096), (4096, 256), (256, 4096), (4096, 256)]
    assert method.decay == 0.996


@pytest.mark.parametrize("step", [0, 2, 8])
def test_byol_follows_ever_more_slowly(model, step):
    """The decay rises from its first value to 1 as a cosine of the steps."""
    method = BYOL(model, decay=0.6, width=10, dimension=6)
    places = [
        (method.target.net.net.stem.conv.weight, model.net.stem.conv.weight),
        (method.target_projector.net[0].weight, method.projector[0].weight),
    ]
    before = [average.clone() for average, _ in places]
    with torch.no_grad():
        for _, trained in places:
            trained.add_(1.0)
    method.after_step(at(step))
    moved = 0.4 * (cos(pi * step / 8) + 1) / 2
    for (average, _), old in zip(places, before):
        torch.testing.assert_close(average, old + moved)


def test_byol_trains_all_but_the_averages(method, batch):
    given = batch._replace(images=torch.stack([batch.images, batch.images.flip(-1)], 1))
    total(method(given, at(0)).values()).backward()
    averages = {*method.target.parameters(), *method.target_projector.parameters()}
    for parameter in method.parameters():
        assert (parameter.grad is None) == (parameter in averages)
