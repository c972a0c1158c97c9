"""SLA and SLA+SD, against their formulas written with loops in float64."""

import numpy as np
import pytest
import torch
from test_frskd import aggregate, joint_label, turned
from test_values import (
    CLASSES,
    MIX,
    NOW,
    ROWS,
    SIZE,
    array,
    cross_entropy,
    kl,
    mixed_label,
    one_hot,
    softmax,
)

from cohobate.core import Batch
from cohobate.methods.sla import SLA
from cohobate.methods.sla_sd import SLASD
from cohobate.models import Classifier


@pytest.fixture(params=["cifar_resnet8", "test_vit"])
def model(request) -> Classifier:
    torch.manual_seed(0)
    return Classifier(request.param, CLASSES, size=SIZE)


@pytest.fixture(params=[None, MIX], ids=["plain", "mixed"])
def batch(request) -> Batch:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, SIZE, SIZE, generator=draw)
    return Batch(images, torch.tensor([0, 3, 1, 3]), torch.arange(ROWS), request.param)


def label_of(batch: Batch) -> np.ndarray:
    return one_hot(batch.targets) if batch.mix is None else mixed_label(batch)


def test_sla(model, batch):
    """The slots of "not turned" are the deployed network's own logits."""
    method = SLA(model, joint=4.0)
    trace = model.trace(turned(batch.inputs))
    rest = array(trace.embedding) @ array(method.turned.weight).T + array(method.turned.bias)
    joint = np.zeros((4 * ROWS, 4 * CLASSES))
    for row in range(4 * ROWS):
        for c in range(CLASSES):
            joint[row, 4 * c] = trace.logits[row, c]
            joint[row, 4 * c + 1 : 4 * c + 4] = rest[row, 3 * c : 3 * c + 3]
    losses = method(batch, NOW)
    expected = 4 * cross_entropy(joint, joint_label(label_of(batch)))
    assert {k: v.item() for k, v in losses.items()} == {"joint": pytest.approx(expected, rel=1e-4)}
    losses["joint"].backward()
    assert all(p.grad.any() for p in model.head().parameters())


def test_sla_sd(model, batch):
    method = SLASD(model, joint=4.0, beta=0.5, temperature=2.0)
    with torch.no_grad():
        method.joint_classifier.weight.mul_(10)
    trace = model.trace(turned(batch.inputs))
    head = method.joint_classifier
    joint = array(trace.embedding) @ array(head.weight).T + array(head.bias)
    z, label = array(trace.logits)[::4], label_of(batch)
    expected = {
        "joint": 4 * cross_entropy(joint, joint_label(label)),
        "kd": kl(z, aggregate(joint), 2.0),
        "ce": 0.5 * cross_entropy(z, label),
    }
    losses = method(batch, NOW)
    assert list(losses) == list(expected)
    for name, loss in losses.items():
        assert expected[name] > 1e-3
        assert loss.item() == pytest.approx(expected[name], rel=1e-4), name


def test_sla_sd_teaches_the_plain_classifier_alone(model, batch):
    method = SLASD(model)
    losses = method(batch, NOW)
    joint, head = list(method.joint_classifier.parameters()), list(model.head().parameters())
    found = torch.autograd.grad(losses["kd"], [*joint, *head], allow_unused=True, retain_graph=True)
    assert found[: len(joint)] == (None,) * len(joint)
    trace = model.trace(turned(batch.inputs))
    a = aggregate(array(method.joint_classifier(trace.embedding)))
    toward = (softmax(array(trace.logits)[::4], 1.0) - softmax(a, 1.0)).sum(0) / ROWS
    np.testing.assert_allclose(array(found[-1]), toward, rtol=1e-3, atol=1e-5)  # of the head's bias
    assert all(g is None for g in torch.autograd.grad(losses["joint"], head, allow_unused=True))


def test_settings_of_the_paper(model):
    assert SLA(model).joint == 1.0
    method = SLASD(model)
    assert (method.joint, method.beta, method.temperature) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", [SLA, SLASD])
def test_images_that_are_not_square_are_refused(kind):
    images = torch.rand(ROWS, 3, SIZE, SIZE + 2)
    batch = Batch(images, torch.zeros(ROWS).long(), torch.arange(ROWS))
    with pytest.raises(ValueError, match="square images"):
        kind(Classifier("cifar_resnet8", CLASSES))(batch, NOW)
