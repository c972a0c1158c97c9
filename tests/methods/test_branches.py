"""BYOT, DKS and SAD, against their formulas written with loops in float64."""

from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
import pytest
import torch
from test_values import (
    CLASSES,
    MIX,
    NOW,
    ROWS,
    SIZE,
    Array,
    array,
    cross_entropy,
    kl,
    mixed_label,
    one_hot,
)

from cohobate.core import Batch, Progress
from cohobate.losses import total
from cohobate.methods.byot import BYOT
from cohobate.methods.dks import DKS
from cohobate.methods.sad import SAD
from cohobate.models import Classifier, Trace


@pytest.fixture(params=["cifar_resnet8", "test_vit"])
def model(request) -> Classifier:
    torch.manual_seed(0)
    return Classifier(request.param, CLASSES, size=SIZE)


@pytest.fixture(params=[None, MIX], ids=["plain", "mixed"])
def batch(request) -> Batch:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, SIZE, SIZE, generator=draw)
    return Batch(images, torch.tensor([0, 3, 1, 3]), torch.arange(ROWS), request.param)


def label_of(batch: Batch) -> Array:
    return one_hot(batch.targets) if batch.mix is None else mixed_label(batch)


def louder(method: BYOT | DKS) -> None:
    """Predictions that differ, so that every KL counts."""
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "classifier" in name or "fc" in name or "head" in name:
                parameter.mul_(10)


def heads(method: BYOT | DKS, batch: Batch) -> tuple[list[Array], list[Array]]:
    """Logits and last maps of all branches and of the network's end, shallow to deep."""
    trace = method.model.trace(batch.inputs)
    logits, maps = method.exits(trace.stages)
    return [array(z) for z in (*logits, trace.logits)], [
        array(f) for f in (*maps, trace.stages[-1])
    ]


def agree(losses: dict[str, torch.Tensor], expected: dict[str, float]) -> None:
    assert list(losses) == list(expected)
    for name, loss in losses.items():
        assert expected[name] > 1e-3, name
        assert loss.item() == pytest.approx(expected[name], rel=2e-4), name


def test_byot(model, batch):
    method = BYOT(model, gamma=0.6, alpha=0.5, temperature=2.0, feature=0.3)
    louder(method)
    losses = method(batch, NOW)
    (*z, last), (*maps, deepest) = heads(method, batch)
    label = label_of(batch)
    assert len(z) == len(model.stages) - 1
    expected = {
        "ce": cross_entropy(last, label),
        "branch_ce": 0.6 * sum(cross_entropy(v, label) for v in z),
        "kd": 0.5 * sum(kl(v, last, 2.0) for v in z),
        "feature": 0.3 * sum(((f - deepest) ** 2).sum() / f.size for f in maps),
    }
    agree(losses, expected)


def test_byot_teaches_the_branches_alone(model, batch):
    """Neither the KL nor the feature term trains the network's own classifier or last map."""
    method = BYOT(model)
    losses = method(batch, NOW)
    head = list(model.head().parameters())
    for name in ("kd", "feature"):
        found = torch.autograd.grad(losses[name], head, allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in found), name


def test_dks(model, batch):
    method = DKS(model, alpha=0.7, beta=0.4, temperature=3.0)
    louder(method)
    losses = method(batch, NOW)
    z, _ = heads(method, batch)
    label = label_of(batch)
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    assert len(pairs) == len(z) * (len(z) - 1)
    expected = {
        "ce": cross_entropy(z[-1], label),
        "branch_ce": 0.7 * sum(cross_entropy(v, label) for v in z[:-1]),
        "synergy": 0.4 * sum(kl(z[i], z[j], 3.0) for i, j in pairs),
    }
    agree(losses, expected)


def test_dks_trains_every_head_by_its_own_pairs(model, batch):
    """Each side of a pair is the target of one term and learns in the other."""
    method = DKS(model)
    synergy = method(batch, NOW)["synergy"]
    for head in (model.head(), *(part for part in method.exits.parts)):
        weights = [p for p in head.parameters() if p.ndim == 2]
        found = torch.autograd.grad(synergy, weights[-1:], retain_graph=True)
        assert found[0].any()


def bilinear(plane: Array, height: int, width: int) -> Array:
    """Resized as if a cell were a point at its centre, and beyond the last centre nothing changed."""
    result = np.zeros((height, width))
    rows, columns = plane.shape
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(v), int(u)
            for r, c in [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]:
                share = max(0, 1 - abs(v - r)) * max(0, 1 - abs(u - c))
                if share:
                    result[y, x] += share * plane[r, c]
    return result


def shares_of_activity(maps: Array, height: int, width: int) -> list[Array]:
    """Softmax over pixels of the mean over channels of squares, image by image."""
    found = []
    for image in maps:
        energy = np.zeros(image.shape[1:])
        for channel in image:
            energy += channel**2 / len(image)
        energy = bilinear(energy, height, width)
        parts = np.array([[exp(e - energy.max()) for e in row] for row in energy])
        found.append(parts / parts.sum())
    return found


@pytest.mark.parametrize("gamma", [1e4, 1e5])
def test_sad(model, batch, gamma):
    maps = [array(f) for f in model.trace(batch.inputs).stages]
    gap = 0.0
    for shallow, deep in pairwise(maps):
        height, width = shallow.shape[-2:]
        pairs = zip(*(shares_of_activity(f, height, width) for f in (shallow, deep)))
        gap += sum(((a - b) ** 2).sum() for a, b in pairs) / (ROWS * height * width)
    losses = SAD(model, gamma=gamma)(batch, NOW)
    agree(
        losses,
        {
            "ce": cross_entropy(array(model(batch.inputs)), label_of(batch)),
            "attention": gamma * gap,
        },
    )


@pytest.mark.parametrize("step, counts", [(0, False), (4, False), (5, True), (9, True)])
def test_sad_starts_when_it_is_told_to(model, batch, step, counts):
    progress = Progress(torch.tensor(0), 1, torch.tensor(step), 10)
    assert bool(SAD(model, start=0.5)(batch, progress)["attention"] > 0) is counts


def test_sad_pulls_the_shallower_map_alone(model, monkeypatch):
    draw = torch.Generator().manual_seed(3)
    maps: list[Any] = [torch.randn(ROWS, 4, 8, 8, generator=draw).requires_grad_() for _ in "123"]
    logits = torch.zeros(ROWS, CLASSES, requires_grad=True)
    monkeypatch.setattr(model, "trace", lambda _: Trace(logits, logits, maps))
    method = SAD(model)
    batch = Batch(torch.zeros(ROWS, 3, 8, 8), torch.zeros(ROWS).long(), torch.arange(ROWS))
    total(method(batch, NOW).values()).backward()
    assert [f.grad is not None and bool(f.grad.any()) for f in maps] == [True, True, False]


@pytest.mark.parametrize("kind", [BYOT, DKS, SAD])
def test_networks_of_one_stage_are_refused(kind):
    model = Classifier("cifar_resnet8", CLASSES)
    model.stages = model.stages[-1:]
    with pytest.raises(ValueError, match=r"'cifar_resnet8'.*: choose another network"):
        kind(model)


def test_settings():
    model = Classifier("cifar_resnet8", CLASSES)
    byot = BYOT(model)
    assert (byot.gamma, byot.alpha, byot.temperature, byot.feature) == (0.7, 0.3, 3.0, 0.03)
    dks = DKS(model)
    assert (dks.alpha, dks.beta, dks.temperature) == (1.0, 1.0, 1.0)
    sad = SAD(model)
    assert (sad.gamma, sad.start) == (1000.0, 0.0)
