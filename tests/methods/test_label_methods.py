"""The methods that change labels or logits alone, against their formulas written with loops."""

from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from test_values import (
    CLASSES,
    MIX,
    NOW,
    PARTNER,
    ROWS,
    SIZE,
    WEIGHT,
    Array,
    array,
    cross_entropy,
    kl,
    log_softmax,
    mixed_label,
    one_hot,
)

from cohobate.core import Batch
from cohobate.methods.focal import Focal
from cohobate.methods.logit_norm import LogitNorm
from cohobate.methods.max_entropy import MaxEntropy
from cohobate.methods.tf_kd import TfKD
from cohobate.methods.tf_kd_self import TfKDSelf
from cohobate.methods.virtual_softmax import VirtualSoftmax
from cohobate.models import Classifier


@pytest.fixture(params=["cifar_resnet8", "test_vit"])
def model(request) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(request.param, CLASSES, size=SIZE)
    with torch.no_grad():
        model.net.get_classifier().weight.mul_(10)  # predictions that differ
    return model


@pytest.fixture(params=[None, MIX], ids=["plain", "mixed"])
def batch(request) -> Batch:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, SIZE, SIZE, generator=draw)
    return Batch(images, torch.tensor([0, 3, 1, 3]), torch.arange(ROWS), request.param)


def label_of(batch: Batch) -> Array:
    return one_hot(batch.targets) if batch.mix is None else mixed_label(batch)


def shares(batch: Batch) -> list[list[tuple[int, float]]]:
    """Of every row the classes that it shows, and how much of each."""
    own = batch.targets.tolist()
    if batch.mix is None:
        return [[(y, 1.0)] for y in own]
    return [[(own[b], w), (own[p], 1 - w)] for b, (p, w) in enumerate(zip(PARTNER, WEIGHT))]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(model, batch, gamma):
    """-(1 - p_y)^gamma log p_y, of either class of a mixture by its share."""
    expected = 0.0
    for z, row in zip(array(model(batch.inputs)), shares(batch)):
        for y, share in row:
            log_p = log_softmax(z)[y]
            expected -= share * (1 - exp(log_p)) ** gamma * log_p / ROWS
    losses = Focal(model, gamma=gamma)(batch, NOW)
    assert {k: v.item() for k, v in losses.items()} == {"focal": pytest.approx(expected, rel=1e-4)}


@pytest.mark.parametrize("variant, weight", [("paper", 0.7), ("released", 0.7 / CLASSES)])
def test_max_entropy(model, batch, variant, weight):
    """CE - beta H, where "released" takes the mean over rows and classes for H."""
    z = array(model(batch.inputs))
    entropy = -sum(exp(p) * p for row in z for p in log_softmax(row)) / ROWS
    losses = MaxEntropy(model, beta=0.7, variant=variant)(batch, NOW)
    assert list(losses) == ["ce", "entropy"]
    assert losses["ce"].item() == pytest.approx(cross_entropy(z, label_of(batch)), rel=1e-4)
    assert losses["entropy"].item() == pytest.approx(-weight * entropy, rel=1e-4)


def test_virtual_softmax(model, batch):
    """CE of the logits and ||w_y|| ||f||, of either class of a mixture by its share."""
    trace = model.trace(batch.inputs)
    weight = array(model.net.get_classifier().weight)
    expected = 0.0
    for z, f, row in zip(array(trace.logits), array(trace.embedding), shares(batch)):
        for y, share in row:
            virtual = sqrt(sum(w**2 for w in weight[y])) * sqrt(sum(x**2 for x in f))
            assert virtual > z[y] - array(model.net.get_classifier().bias)[y]
            expected -= share * log_softmax(np.array([*z, virtual]))[y] / ROWS
    losses = VirtualSoftmax(model)(batch, NOW)
    assert {k: v.item() for k, v in losses.items()} == {"ce": pytest.approx(expected, rel=1e-4)}


@pytest.mark.parametrize(
    "arch, kinds",
    [("deit_tiny_distilled_patch16_224", "Linear and Linear"), ("resnetv2_50x1_bit", "Conv2d")],
)
def test_virtual_softmax_refuses_other_classifiers(arch, kinds):
    with torch.device("meta"):
        model = Classifier(arch, CLASSES)
        with pytest.raises(ValueError, match=rf"one linear.*'{arch}' has {kinds}: choose"):
            VirtualSoftmax(model)


def virtual(y: int, correct: float) -> list[float]:
    return [correct if c == y else (1 - correct) / (CLASSES - 1) for c in range(CLASSES)]


@pytest.mark.parametrize("correct, temperature, alpha", [(0.99, 20.0, 0.1), (0.8, 0.5, 0.6)])
def test_tf_kd(model, batch, correct, temperature, alpha):
    """KL of softmax(z) from softmax(q / T), the teachers of both classes by their shares."""
    z, taught = array(model(batch.inputs)), 0.0
    for logits, row in zip(z, shares(batch)):
        for y, share in row:
            soft = log_softmax(np.array(virtual(y, correct)), temperature)
            gaps = [exp(q) * (q - p) for p, q in zip(log_softmax(logits), soft)]
            taught += share * sum(gaps) / ROWS
    method = TfKD(model, correct=correct, temperature=temperature, alpha=alpha)
    losses = method(batch, NOW)
    assert list(losses) == ["ce", "virtual"]
    ce = cross_entropy(z, label_of(batch))
    assert losses["ce"].item() == pytest.approx((1 - alpha) * ce, rel=1e-4)
    assert losses["virtual"].item() == pytest.approx(alpha * taught, rel=1e-4)


def test_tf_kd_as_released(model, batch):
    """CE - sum_c q_c / T log softmax(z / T)_c: no weights, and T divides twice."""
    z, taught = array(model(batch.inputs)), 0.0
    for logits, row in zip(z, shares(batch)):
        for y, share in row:
            pairs = zip(virtual(y, 0.9), log_softmax(logits, 20.0))
            taught -= share * sum(q / 20.0 * p for q, p in pairs) / ROWS
    losses = TfKD(model, correct=0.9, variant="released")(batch, NOW)
    assert losses["ce"].item() == pytest.approx(cross_entropy(z, label_of(batch)), rel=1e-4)
    assert losses["virtual"].item() == pytest.approx(taught, rel=1e-4)


def test_tf_kd_as_released_hardly_teaches(model, batch):
    sizes = []
    for loss in TfKD(model, correct=0.9, variant="released")(batch, NOW).values():
        (gradient,) = torch.autograd.grad(
            loss, model.net.get_classifier().weight, retain_graph=True
        )
        sizes.append(gradient.norm().item())
    assert 0 < sizes[1] < 0.02 * sizes[0]


def test_tf_kd_self(model, batch):
    teacher = Classifier("cifar_resnet8", CLASSES)
    method = TfKDSelf(model, teacher=teacher, temperature=2.0, alpha=0.8, multiplier=3.0)
    losses = method(batch, NOW)
    z, t = array(model(batch.inputs)), array(teacher(batch.inputs))
    assert list(losses) == ["ce", "kd"]
    ce = cross_entropy(z, label_of(batch))
    assert losses["ce"].item() == pytest.approx(0.2 * ce, rel=1e-4)
    assert losses["kd"].item() == pytest.approx(2.4 * kl(z, t, 2.0), rel=1e-4)
    assert not teacher.training


def test_logit_norm(model, batch):
    """CE of logits of length 1 / tau."""
    z = array(model(batch.inputs))
    unit = np.stack([row / sqrt(sum(v**2 for v in row)) for row in z])
    losses = LogitNorm(model, temperature=0.1)(batch, NOW)
    expected = cross_entropy(unit / 0.1, label_of(batch))
    assert {k: v.item() for k, v in losses.items()} == {"ce": pytest.approx(expected, rel=1e-4)}


@pytest.mark.parametrize("classes, temperature", [(CLASSES, 0.04), (100, 0.2)])
def test_logit_norm_has_the_floor_that_its_docstring_names(classes, temperature):
    """Of all logits of one length, those that are even on the other classes cost least."""
    best = np.array([classes - 1.0] + [-1.0] * (classes - 1))
    best /= sqrt(sum(v**2 for v in best))
    floor = log(1 + (classes - 1) * exp(-sqrt(classes / (classes - 1)) / temperature))
    assert -log_softmax(best, temperature)[0] == pytest.approx(floor, rel=1e-6, abs=1e-9)
    if classes == 100:
        assert floor == pytest.approx(0.5, abs=0.01)


def test_settings(model):
    assert Focal(model).gamma == 2.0
    assert MaxEntropy(model).beta == 0.5
    assert LogitNorm(model).temperature == 0.04
    method = TfKD(model)
    assert (method.correct, method.temperature, method.alpha) == (0.99, 20.0, 0.1)
    method = TfKDSelf(model, teacher=model.fresh())
    assert (method.temperature, method.alpha, method.multiplier) == (6.0, 0.95, 0.5)
