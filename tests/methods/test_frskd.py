"""FRSKD and its union with SLA, against their formulas written with loops in float64."""

import json
from math import exp, pi, sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_values import (
    CLASSES,
    MIX,
    NOW,
    ROWS,
    Array,
    Given,
    array,
    cross_entropy,
    kl,
    mixed_label,
    one_hot,
    softmax,
)
from torch import nn

from cohobate import config, defaults
from cohobate.core import Batch, Progress
from cohobate.losses import total
from cohobate.methods.frskd import FRSKD
from cohobate.methods.frskd_sla import FRSKDSLA
from cohobate.models import Classifier, Trace
from cohobate.modules.distance import FitNet, Overhaul, margin
from places import SMOKE

TERMS = ["ce", "teacher_ce", "kd", "feature"]


def attention(maps: Array) -> Array:
    """(B, H * W): the mean over channels of squares, over its norm."""
    energy = np.stack([(row**2).sum(0).flatten() / len(row) for row in maps])
    return np.stack([row / max(sqrt((row**2).sum()), 1e-12) for row in energy])


def attention_transfer(student: list[Array], teacher: list[Array]) -> float:
    """Of rectified maps, summed over the stages."""
    value = 0.0
    for f, t in zip(student, teacher):
        gap = attention(np.maximum(f, 0)) - attention(np.maximum(t, 0))
        value += sum(g**2 for g in gap.flatten()) / gap.size
    return value


def sharpen(method: nn.Module) -> None:
    """Predictions that differ, so that every KL counts."""
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if any(word in name for word in ("classifier", "fc", "joint")):
                parameter.mul_(10)


@pytest.mark.parametrize("arch", ["cifar_resnet8", "cifar_wrn_16_1"])
@pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])
def test_frskd(arch, batch, mix):
    method = FRSKD(Classifier(arch, CLASSES))
    sharpen(method)
    batch = batch._replace(mix=mix)
    student = method.model.trace(batch.inputs)
    teacher = method.self_teacher(student.stages)
    label = one_hot(batch.targets) if mix is None else mixed_label(batch)
    z, t = array(student.logits), array(teacher.logits)
    maps = [[array(f) for f in stages] for stages in (student.stages, teacher.stages)]
    losses = method(batch, NOW)
    assert list(losses) == TERMS
    expected = {
        "ce": cross_entropy(z, label),
        "teacher_ce": cross_entropy(t, label),
        "kd": 2 * kl(z, t, 4.0),
        "feature": 100 * attention_transfer(*maps),
    }
    for name, loss in losses.items():
        assert expected[name] > 1e-3
        assert loss.item() == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("feature", ["attention", "fitnet", "overhaul"])
def test_a_self_teacher_of_constant_width(model, batch, feature):
    """Every distance takes maps of other widths than the network's; `width` counts no more."""
    method = FRSKD(model, constant=12, width=7, feature=feature)
    maps = method.self_teacher(model.trace(batch.images).stages).stages
    assert [refined.shape[1] for refined in maps] == [12] * len(model.stages)
    losses = method(batch, NOW)
    assert list(losses) == TERMS
    total(losses.values()).backward()
    assert all(p.grad is not None for p in method.self_teacher.parameters())


def test_frskd_weights(model, batch):
    plain = FRSKD(model)
    weighted = FRSKD(model, alpha=6.0, beta=500.0)
    weighted.load_state_dict(plain.state_dict())
    before, after = plain(batch, NOW), weighted(batch, NOW)
    ratios = [(after[name] / before[name]).item() for name in TERMS]
    assert ratios == pytest.approx([1, 1, 3, 5], rel=1e-5)
    assert list(FRSKD(model, feature="none")(batch, NOW)) == TERMS[:-1]


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_frskd_target_of_the_kl_term(model, batch, monkeypatch, variant):
    """alpha T (p_z - p_t) / B for the network; the self-teacher learns in the port alone."""
    method = FRSKD(model, variant=variant)
    z, t = ((2 * torch.randn(ROWS, CLASSES)).requires_grad_() for _ in range(2))
    maps = [torch.randn(ROWS, 3, 2, 2).requires_grad_() for _ in range(2)]
    monkeypatch.setattr(model, "trace", lambda images: Trace(z, z, maps[:1]))
    method.self_teacher = Given(Trace(t, t, maps[1:]))
    losses = method(batch, NOW)
    found = torch.autograd.grad(losses["kd"], [z, t, *maps], allow_unused=True, retain_graph=True)
    T, p_z, p_t = 4.0, softmax(array(z), 4.0), softmax(array(t), 4.0)
    expected = 2 * T * (p_z - p_t) / ROWS
    np.testing.assert_allclose(array(found[0]), expected, rtol=1e-4, atol=1e-6)
    assert losses["kd"].item() == pytest.approx(2 * kl(array(z), array(t), T), rel=1e-4)
    if variant == "paper":
        assert found[1] is None
    else:
        gap = np.log(p_t) - np.log(p_z)
        toward = 2 * T * p_t * (gap - (p_t * gap).sum(1, keepdims=True)) / ROWS
        np.testing.assert_allclose(array(found[1]), toward, rtol=1e-4, atol=1e-5)
    assert found[2:] == (None, None)
    feature = torch.autograd.grad(losses["feature"], [*maps, z, t], allow_unused=True)
    assert feature[0].any()
    assert feature[1:] == (None, None, None)


def test_frskd_released_squares_maps_that_are_not_rectified(model, batch, monkeypatch):
    method = FRSKD(model, variant="released")
    z, f, t = torch.randn(ROWS, CLASSES), torch.randn(ROWS, 3, 2, 2), torch.randn(ROWS, 5, 2, 2)
    monkeypatch.setattr(model, "trace", lambda images: Trace(z, z, [f]))
    method.self_teacher = Given(Trace(z, z, [t]))
    gap = attention(array(f)) - attention(array(t))
    expected = 100 * (gap**2).sum() / gap.size
    assert method(batch, NOW)["feature"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("feature", ["attention", "fitnet", "overhaul"])
def test_frskd_gradients(model, batch, feature):
    """The self-teacher learns from its own labels alone, and those train the backbone as well."""
    method = FRSKD(model, feature=feature)
    losses = method(batch, NOW)
    parts = {
        "head": list(model.head().parameters()),
        "backbone": [p for n, p in model.named_parameters() if "head" not in n],
        "self_teacher": list(method.self_teacher.parameters()),
    }
    reached = {}
    for name, loss in losses.items():
        found = {
            part: torch.autograd.grad(loss, p, allow_unused=True, retain_graph=True)
            for part, p in parts.items()
        }
        reached[name] = {part for part, g in found.items() if any(v is not None for v in g)}
    assert reached == {
        "ce": {"head", "backbone"},
        "teacher_ce": {"backbone", "self_teacher"},
        "kd": {"head", "backbone"},
        "feature": {"backbone"},
    }


def test_fitnet_regresses_on_rectified_maps():
    torch.manual_seed(0)
    distance = FitNet([(2, 4), (3, 6)])
    student = [torch.randn(3, 2, 4, 4), torch.randn(3, 3, 2, 2)]
    teacher = [torch.randn(3, 4, 4, 4), torch.randn(3, 6, 2, 2)]
    expected = 0.0
    for part, f, t in zip(distance.regressors, student, teacher):
        weight = array(part[0].weight)[:, :, 0, 0]
        guess = np.einsum("oi,bihw->bohw", weight, np.maximum(array(f), 0))
        mean, var = guess.mean((0, 2, 3), keepdims=True), guess.var((0, 2, 3), keepdims=True)
        guess = np.maximum((guess - mean) / np.sqrt(var + 1e-5), 0)
        expected += ((guess - np.maximum(array(t), 0)) ** 2).sum() / guess.size
    assert distance(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def negative_mean(mean: float, deviation: float) -> float:
    """E[x | x < 0] of a Gaussian, by summing over a fine grid."""
    x = np.linspace(-12 * deviation + min(mean, 0), 0, 400_001)
    density = np.exp(-0.5 * ((x - mean) / deviation) ** 2)
    return float((x * density).sum() / density.sum())


def test_margins_follow_the_batch_norm():
    norm = nn.BatchNorm2d(5)
    assert margin(norm).flatten().tolist() == pytest.approx([-sqrt(2 / pi)] * 5)
    scale, shift = [1.0, 0.5, -2.0, 0.1, 1.0], [0.3, -0.7, 1.0, 2.0, -6.0]
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(scale))
        norm.bias.copy_(torch.tensor(shift))
    expected = [negative_mean(m, abs(s)) for m, s in zip(shift, scale)]
    expected[3] = -3 * 0.1  # 20 deviations above zero: nothing is negative
    assert margin(norm).shape == (5, 1, 1)
    assert margin(norm).flatten().tolist() == pytest.approx(expected, rel=1e-3)
    assert not margin(norm).requires_grad


def test_overhaul_counts_what_the_relu_lets_matter():
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(6), nn.BatchNorm2d(2)]
    distance = Overhaul([(2, 4), (3, 6), (5, 2)], norms)
    assert not any("norms" in key for key in distance.state_dict())
    shapes = [(2, 4, 4), (3, 6, 2), (5, 2, 1)]
    student = [torch.randn(3, a, size, size) for a, _, size in shapes]
    teacher = [2 * torch.randn(3, b, size, size) for _, b, size in shapes]
    expected = 0.0
    for i, (f, t) in enumerate(zip(student, teacher)):
        guess = array(distance.regressors[i](f)).flatten()
        for r, value in zip(guess, array(t).flatten()):
            target = max(value, -sqrt(2 / pi))
            if r > target or target > 0:
                expected += (r - target) ** 2 / 3 / 2 ** (2 - i)
    assert distance(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_overhaul_reads_the_norms_of_the_refined_maps(model, batch):
    """The norm's scale and shift are the deviation and the mean of the map that it gave."""
    method = FRSKD(model, feature="overhaul")
    for k, norm in enumerate(method.distance.norms):
        nn.init.constant_(norm.weight, k + 1.5)
        nn.init.constant_(norm.bias, k - 1.0)
    maps = method.self_teacher(model.trace(batch.images).stages).stages
    for k, features in enumerate(maps):
        assert features.mean().item() == pytest.approx(k - 1, abs=1e-3)
        assert features.std().item() == pytest.approx(k + 1.5, rel=1e-2)
    assert "as they are tapped" in method.distance.note


def test_frskd_ramp(model, batch):
    """The segmentation schedule: nothing for 40 of 60 epochs, then exp(-5 (1 - t)²)."""
    plain, rising = FRSKD(model), FRSKD(model, ramp_start=40 / 60, ramp_end=1.0)
    rising.load_state_dict(plain.state_dict())
    base = plain(batch, NOW)
    for epoch in (0, 39, 40, 49, 59):
        progress = Progress(torch.tensor(epoch), 60, torch.tensor(0), 60)
        factor = 0.0 if epoch < 40 else exp(-5 * (1 - (epoch + 1 - 40) / 20) ** 2)
        losses, constant = rising(batch, progress), plain(batch, progress)
        for name in TERMS:
            scale = factor if name in ("kd", "feature") else 1.0
            assert losses[name].item() == pytest.approx(scale * base[name].item(), rel=1e-4)
            assert constant[name].item() == pytest.approx(base[name].item(), rel=1e-5)
    assert total(rising(batch, NOW._replace(epoch=0, step=0)).values()).isfinite()


@pytest.mark.parametrize("kind", [FRSKD, FRSKDSLA])
def test_a_ramp_that_never_begins_or_ends_before_is_refused(model, kind):
    with pytest.raises(ValueError, match=r"ramp_end=0.2 lies before ramp_start=0.5"):
        kind(model, ramp_start=0.5, ramp_end=0.2)
    with pytest.raises(ValueError, match=r"ramp_start=1 is the end of the training"):
        kind(model, ramp_start=1.0, ramp_end=1.0)


FEATURES = ["attention", "fitnet", "overhaul"]


@pytest.mark.parametrize("kind", [FRSKD, FRSKDSLA])
@pytest.mark.parametrize("feature", FEATURES)
def test_the_feature_term_begins_at_the_order_of_the_cross_entropy(model, kind, feature):
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    batch = Batch(images, torch.arange(16) % CLASSES, torch.arange(16))
    losses = kind(model, feature=feature)(batch, NOW)
    backbone = [p for name, p in model.named_parameters() if "head" not in name]

    def size(name: str) -> float:
        found = torch.autograd.grad(losses[name], backbone, allow_unused=True, retain_graph=True)
        return sqrt(sum(float(g.square().sum()) for g in found if g is not None))

    assert 0.1 < size("feature") / size("ce") < 10


def test_a_run_learns_with_the_weight_of_its_distance_and_writes_it(smoke, tmp_path):
    ran = smoke(tmp_path, "method.name=frskd", "method.feature=fitnet", epochs=2)
    assert ran.code == 0, ran.err
    assert config.load(tmp_path / "config.toml").method.options["beta"] == 2.0
    last = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["test/top1"] > 0.3  # of ten classes
    overhaul = config.load(SMOKE, ["method.name=frskd", "method.feature=overhaul"])
    assert defaults.resolve(overhaul)[0].method.options["beta"] == 2e-4


def test_frskd_has_the_settings_of_cifar(model):
    method = FRSKD(model)
    assert (method.temperature, method.alpha, method.beta) == (4.0, 2.0, 100.0)
    assert method.variant == "paper"
    assert method.self_teacher.classifier.in_features == 2 * 64
    assert len(method.self_teacher.bifpn.top_down[0].layers) == 7  # two separable convolutions


def turned(images: torch.Tensor) -> torch.Tensor:
    """Four rotations of each image, counter-clockwise."""
    rows = [np.rot90(array(image), r, (1, 2)) for image in images for r in range(4)]
    return torch.from_numpy(np.stack(rows)).float()


def joint_label(label: Array) -> Array:
    joint = np.zeros((4 * len(label), 4 * CLASSES))
    for b, row in enumerate(label):
        for c, share in enumerate(row):
            for r in range(4):
                joint[4 * b + r, 4 * c + r] = share
    return joint


def aggregate(joint: Array) -> Array:
    value = np.zeros((len(joint) // 4, CLASSES))
    for b in range(len(value)):
        for c in range(CLASSES):
            value[b, c] = sum(joint[4 * b + r, 4 * c + r] for r in range(4)) / 4
    return value


@pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])
def test_frskd_sla(model, batch, mix):
    method = FRSKDSLA(model, gamma=3.0)
    sharpen(method)
    batch = batch._replace(mix=mix)
    student = [model.trace(batch.inputs), model.trace(turned(batch.inputs))]
    teacher = [method.self_teacher(trace.stages) for trace in student]
    z, t = array(student[0].logits), array(teacher[0].logits)
    q_z = array(F.linear(student[1].embedding, *method.joint_student.parameters()))
    q_t = array(F.linear(teacher[1].embedding, *method.joint_teacher.parameters()))
    a_z, a_t = aggregate(q_z), aggregate(q_t)
    label = one_hot(batch.targets) if mix is None else mixed_label(batch)
    maps: list[Any] = [
        [np.concatenate([array(f) for f in pair]) for pair in zip(*(t.stages for t in traces))]
        for traces in (student, teacher)
    ]
    assert {len(f) for f in maps[0]} == {5 * ROWS}
    expected = {
        "ce": cross_entropy(z, label),
        "teacher_ce": cross_entropy(t, label),
        "joint": sum(cross_entropy(q, joint_label(label)) for q in (q_z, q_t)),
        "aggregate": 3 * (kl(z, a_z, 4.0) + kl(t, a_t, 4.0)),
        "kd": 2 * (kl(z, t, 4.0) + kl(a_z, a_t, 4.0)) / 2,  # the mean over 2B rows
        "feature": 100 * attention_transfer(*maps),
    }
    losses = method(batch, NOW)
    assert list(losses) == list(expected)
    for name, loss in losses.items():
        assert expected[name] > 1e-3
        assert loss.item() == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("feature", [*FEATURES, "none"])
def test_frskd_sla_has_the_distances_of_frskd(model, batch, feature):
    method = FRSKDSLA(model, feature=feature, constant=12, width=7)
    losses = method(batch, NOW)
    assert ("feature" in losses) == (feature != "none")
    total(losses.values()).backward()
    assert all(p.grad is not None for p in method.self_teacher.parameters())


def test_frskd_sla_rises_as_frskd_does(model, batch):
    plain, rising = FRSKDSLA(model), FRSKDSLA(model, ramp_start=0.5, ramp_end=1.0)
    rising.load_state_dict(plain.state_dict())
    progress = Progress(torch.tensor(0), 4, torch.tensor(0), 4)
    before, after = plain(batch, progress), rising(batch, progress)
    for name, loss in before.items():
        scale = 0.0 if name in ("kd", "feature") else 1.0
        assert after[name].item() == pytest.approx(scale * loss.item(), rel=1e-5), name


def test_frskd_sla_gradients(model, batch):
    method = FRSKDSLA(model)
    losses = method(batch, NOW)
    parts = {
        "head": list(model.head().parameters()),
        "joint_student": list(method.joint_student.parameters()),
        "joint_teacher": list(method.joint_teacher.parameters()),
        "self_teacher": list(method.self_teacher.parameters()),
    }
    reached = {}
    for name, loss in losses.items():
        found = {
            part: torch.autograd.grad(loss, p, allow_unused=True, retain_graph=True)
            for part, p in parts.items()
        }
        reached[name] = {part for part, g in found.items() if any(v is not None for v in g)}
    assert reached == {
        "ce": {"head"},
        "teacher_ce": {"self_teacher"},
        "joint": {"joint_student", "joint_teacher", "self_teacher"},
        "aggregate": {"head", "self_teacher"},
        "kd": {"head", "joint_student"},
        "feature": set(),
    }
