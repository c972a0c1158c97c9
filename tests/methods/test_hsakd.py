"""HSAKD's teacher, its student, and the online form, against their formulas in float64 loops."""

import json
import os
import signal
from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from test_values import array, cross_entropy, kl, log_softmax, mixed
from torch import nn

from cohobate.core import Batch, Mixture, Progress
from cohobate.engine import Training
from cohobate.losses import total
from cohobate.methods.hsakd import HSAKD
from cohobate.methods.hsakd_teacher import HSAKDTeacher
from cohobate.methods.hssakd import HSSAKD
from cohobate.models import Classifier, Trace

CLASSES, SIZE, ROWS, T = 5, 32, 4, 3.0
NOW = Progress(torch.tensor(0), 1, torch.tensor(0), 1)
PARTNER, WEIGHT = [2, 0, 3, 1], [0.9, 0.25, 1.0, 0.6]
MIX = Mixture(torch.tensor(PARTNER), torch.tensor(WEIGHT))
MIXES = pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])

Array = np.ndarray


def sharp(net: nn.Module) -> nn.Module:
    """The network, sure of itself, so that every KL term counts."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("fc.weight"):
                parameter.mul_(10)
    return net


@pytest.fixture
def student(model) -> HSAKD:
    network = Classifier("cifar_resnet14", CLASSES, mean=(0.1, 0.2, 0.3))
    teacher = HSAKDTeacher(network)
    teacher(batch_of_noise(), NOW)  # statistics that are not the initial ones
    return HSAKD(model, teacher=sharp(teacher))


def batch_of_noise() -> Batch:
    images = torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7))
    return Batch(images, torch.arange(8) % CLASSES, torch.arange(8))


def turned(batch: Batch) -> torch.Tensor:
    """x0r0, x0r1, x0r2, x0r3, x1r0, …, counter-clockwise, pixel by pixel, of the mixed images."""
    images = array(batch.images)
    if batch.mix is not None:
        images = mixed(images, PARTNER, WEIGHT)
    rows = []
    for image in images:
        for _ in range(4):
            rows.append(image)
            image = np.stack([[channel[:, SIZE - 1 - y] for y in range(SIZE)] for channel in image])
    return torch.from_numpy(np.stack(rows)).float()


def labels(batch: Batch) -> tuple[Array, Array]:
    """Labels (B, C) of the images, and joint labels (4B, 4C) of the rotations: 4y + r."""
    label, joint = np.zeros((ROWS, CLASSES)), np.zeros((4 * ROWS, 4 * CLASSES))
    for b, y in enumerate(batch.targets.tolist()):
        shares = [(y, 1.0)]
        if batch.mix is not None:
            shares = [(y, WEIGHT[b]), (int(batch.targets[PARTNER[b]]), 1 - WEIGHT[b])]
        for c, share in shares:
            label[b, c] += share
            for r in range(4):
                joint[4 * b + r, 4 * c + r] += share
    return label, joint


def predictions(net: Classifier, heads: nn.Module, batch: Batch) -> tuple[Array, list[Array]]:
    """z (4B, C), and q_l (4B, 4C) of every stage, of the rotations."""
    trace = net.trace(turned(batch))
    return array(trace.logits), [array(q) for q in heads(trace.stages)]


def upright(logits: Array) -> Array:
    return np.stack([logits[row] for row in range(0, len(logits), 4)])


def values(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


@MIXES
@pytest.mark.parametrize("frozen", [False, True])
def test_teacher(model, batch, mix, frozen):
    method, batch = sharp(HSAKDTeacher(model, frozen=frozen)), batch._replace(mix=mix)
    label, joint_label = labels(batch)
    losses = values(method(batch, NOW))
    z, joint = predictions(model, method.heads, batch)
    assert [q.shape for q in joint] == [(4 * ROWS, 4 * CLASSES)] * 3
    expected = {"joint": sum(cross_entropy(q, joint_label) for q in joint)}
    if not frozen:
        expected["ce"] = cross_entropy(upright(z), label)
    assert losses == pytest.approx(expected, rel=1e-5)


@MIXES
@pytest.mark.parametrize("temperature", [3.0, 1.0])
def test_student(student, batch, mix, temperature):
    student.temperature, batch = temperature, batch._replace(mix=mix)
    sharp(student.model)
    losses = values(student(batch, NOW))
    z, joint = predictions(student.model, student.heads, batch)
    teacher = student.teacher.net
    assert not teacher.training
    z_teacher, joint_teacher = predictions(teacher, student.teacher_heads.net, batch)
    expected = {
        "ce": cross_entropy(upright(z), labels(batch)[0]),
        "joint": sum(kl(a, b, temperature) for a, b in zip(joint, joint_teacher)),
        "kd": kl(z, z_teacher, temperature),
    }
    assert losses == pytest.approx(expected, rel=1e-4)
    assert min(losses.values()) > 1e-3


@MIXES
def test_student_whose_heads_see_the_labels(student, batch, mix):
    batch = batch._replace(mix=mix)
    plain = values(student(batch, NOW))
    student.head_ce = 0.5
    losses = values(student(batch, NOW))
    _, joint = predictions(student.model, student.heads, batch)
    found = sum(cross_entropy(q, labels(batch)[1]) for q in joint)
    assert losses.pop("head_ce") == pytest.approx(0.5 * found, rel=1e-5)
    assert losses == pytest.approx(plain, rel=1e-5)


@MIXES
@pytest.mark.parametrize("peers", [2, 3])
def test_online(model, batch, mix, peers):
    method, batch = sharp(HSSAKD(model, peers=peers)), batch._replace(mix=mix)
    label, joint_label = labels(batch)
    losses = values(method(batch, NOW))
    nets = [model, *method.peers]
    assert len(nets) == len(method.heads) == peers
    found = [predictions(net, heads, batch) for net, heads in zip(nets, method.heads)]
    expected = dict.fromkeys(("ce", "joint", "joint_mutual", "mutual"), 0.0)
    for n, (z, joint) in enumerate(found):
        expected["ce"] += cross_entropy(upright(z), label)
        for q in joint:
            expected["joint"] += cross_entropy(q, joint_label)
        for m, (z_other, joint_other) in enumerate(found):
            if m != n:
                expected["mutual"] += kl(z, z_other, T) / (peers - 1)
                for q, q_other in zip(joint, joint_other):
                    expected["joint_mutual"] += kl(q, q_other, T) / (peers - 1)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert min(losses.values()) > 1e-3


def test_settings_of_the_paper(student, model):
    assert student.temperature == 3.0
    method = HSSAKD(model)
    assert (method.temperature, len(method.peers)) == (3.0, 1)
    assert not HSAKDTeacher(model).frozen


def gradients(loss: torch.Tensor, net: nn.Module) -> list[bool]:
    """Whether each parameter gets a gradient that is not zero."""
    found = torch.autograd.grad(loss, [*net.parameters()], retain_graph=True, allow_unused=True)
    return [g is not None and bool(g.any()) for g in found]


def test_student_heads_learn_from_the_teacher_alone(student, batch):
    losses = student(batch, NOW)
    assert not any(gradients(losses["ce"] + losses["kd"], student.heads))
    assert all(gradients(losses["joint"], student.heads))
    assert any(gradients(losses["joint"], student.model))  # and through them the network
    other = student(batch._replace(targets=(batch.targets + 1) % CLASSES), NOW)
    assert other["joint"] == losses["joint"]  # no label reaches them
    assert other["kd"] == losses["kd"]
    assert other["ce"] != losses["ce"]


def test_a_frozen_teacher_trains_its_heads_alone(model, batch):
    method = HSAKDTeacher(model, frozen=True)
    before, heads = deepcopy(model.state_dict()), deepcopy(method.heads.state_dict())
    method.eval().train()
    assert not any(part.training for part in model.net.modules())
    assert method.heads.training
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        total(method(batch, NOW).values()).backward()
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())
    after = method.heads.state_dict()
    assert [key for key, value in after.items() if torch.equal(value, heads[key])] == []


def test_a_joint_teacher_trains_the_network_through_every_head(model, batch):
    method = HSAKDTeacher(model)
    stages = model.trace(torch.cat([batch.images] * 4)).stages
    joint = method.heads(stages)
    for q, maps in zip(joint, stages):
        (gradient,) = torch.autograd.grad(q.square().sum(), [maps], retain_graph=True)
        assert gradient.any()
    assert any(gradients(method(batch, NOW)["joint"], model))


class Given(nn.Module):
    """Stands for a module whose output is known."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *_):
        return self.value


def softmax(logits: torch.Tensor) -> Array:
    return np.exp([log_softmax(row, T) for row in array(logits)])


def test_peers_are_targets_of_each_other(model, batch, monkeypatch):
    """d KL_T(s <- t) / ds = T (p_s - p_t) / 4B, and nothing for t."""
    draw = torch.Generator().manual_seed(4)
    method = HSSAKD(model)
    z, q = (
        [(2 * torch.randn(4 * ROWS, classes, generator=draw)).requires_grad_() for _ in range(2)]
        for classes in (CLASSES, 4 * CLASSES)
    )
    for net, logits in zip((model, *method.peers), z):
        trace = Trace(logits, logits, [])
        monkeypatch.setattr(net, "trace", lambda images, trace=trace: trace)
    method.heads = nn.ModuleList([Given([joint]) for joint in q])
    losses = method(batch, NOW)
    for name, (a, b) in (("mutual", z), ("joint_mutual", q)):
        toward = T * (softmax(a) - softmax(b)) / (4 * ROWS)
        found = torch.autograd.grad(losses[name], [a, b])
        np.testing.assert_allclose(array(found[0]), toward, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(array(found[1]), -toward, rtol=2e-5, atol=1e-6)


def test_a_teacher_that_does_not_fit_is_refused(model):
    four = HSAKDTeacher(Classifier("cifar_vgg8", CLASSES))
    with pytest.raises(ValueError, match=r"teacher has 4 auxiliary heads.*'cifar_resnet8' 3"):
        HSAKD(model, teacher=four)
    other = HSAKDTeacher(Classifier("cifar_resnet8", CLASSES + 1))
    with pytest.raises(ValueError, match=r"teacher knows 6 classes and the student 5"):
        HSAKD(model, teacher=other)


FEW = ("data.per_class=8", "data.batch_size=16")


def test_from_teacher_to_student_on_the_command_line(smoke, cohobate, tmp_path):
    teacher = tmp_path / "teacher"
    assert smoke(teacher, "method.name=hsakd_teacher", *FEW).code == 0
    ran = smoke(tmp_path / "run", "method.name=hsakd", f"method.teacher={teacher}", *FEW)
    assert ran.code == 0, ran.err
    for whose in ("student", "teacher"):
        assert f"the {whose}'s 3 auxiliary heads: copies of the remaining stages" in ran.out
    taught, frozen = (
        load_file(path)
        for path in (teacher / "method.safetensors", tmp_path / "run/frozen.safetensors")
    )
    names = {"model.": "teacher.net.", "heads.": "teacher_heads.net."}
    for key, value in taught.items():
        begin = next(name for name in names if key.startswith(name))
        assert torch.equal(frozen[key.replace(begin, names[begin], 1)], value), key
    assert len(frozen) == len(taught)
    checkpoint = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    assert not [key for key in checkpoint["method"] if key.startswith("teacher")]
    # What is deployed is the network alone, at the cost of the network alone.
    net = timm.create_model("cifar_resnet8", num_classes=10)
    net.load_state_dict(load_file(tmp_path / "run/model.safetensors"), strict=True)
    cost = json.loads((tmp_path / "run/environment.json").read_text())["cost"]
    smoke(tmp_path / "plain", *FEW)
    plain = json.loads((tmp_path / "plain/environment.json").read_text())["cost"]
    assert (cost["macs"], cost["parameters"]) == (plain["macs"], plain["parameters"])
    assert cost["training_macs"] > 12 * plain["macs"]
    again = cohobate("evaluate", tmp_path / "run")
    assert again.code == 0, again.err
    # A network that was trained before, and the heads alone.
    start = (f"init={tmp_path / 'plain'}", "method.name=hsakd_teacher", "method.frozen=true")
    assert smoke(tmp_path / "frozen", *start, *FEW).code == 0
    kept, first = (load_file(tmp_path / f"{n}/model.safetensors") for n in ("frozen", "plain"))
    assert all(torch.equal(kept[key], first[key]) for key in first)


def test_goes_on_to_the_same_bits(smoke, monkeypatch, tmp_path):
    teacher = tmp_path / "teacher"
    assert smoke(teacher, "method.name=hsakd_teacher", *FEW).code == 0
    given = ("method.name=hsakd", f"method.teacher={teacher}", *FEW)
    assert smoke(tmp_path / "whole", *given, epochs=2).code == 0
    before = Training.advance

    def step(self, *arguments):
        before(self, *arguments)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", step)
    assert smoke(tmp_path / "cut", *given, epochs=2).code == 128 + signal.SIGTERM
    monkeypatch.setattr(Training, "advance", before)
    assert smoke(tmp_path / "cut", *given, epochs=2).code == 0
    one, two = (tmp_path / name / "method.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == two.read_bytes()


def test_a_wrong_teacher_on_the_command_line(smoke, cohobate, tmp_path):
    smoke(tmp_path / "plain", *FEW)

    def fails(folder, *settings) -> str:
        given = ("method.name=hsakd", f"method.teacher={folder}", *FEW, *settings)
        ran = smoke(tmp_path / "run", *given)
        assert ran.code == 2
        assert "Traceback" not in ran.err
        return ran.err

    error = fails(tmp_path / "plain")
    assert f"{tmp_path / 'plain'} was trained with 'supervised' and has no auxiliary parts" in error
    assert "method.name=hsakd_teacher" in error
    assert "RUN_FOLDER of a run with method.name=hsakd_teacher" in fails("timm:resnet18")
    assert smoke(tmp_path / "teacher", "method.name=hsakd_teacher", *FEW).code == 0
    error = fails(tmp_path / "teacher", "data.size=48")
    assert "takes images of 32 pixels, and the data has 48" in error
    assert "4 auxiliary heads" not in error
    assert "'cifar_vgg8' 4" in fails(tmp_path / "teacher", "model.arch=cifar_vgg8")
    weights = tmp_path / "teacher" / "method.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "method.safetensors is damaged" in fails(tmp_path / "teacher")
    weights.unlink()
    assert "without auxiliary parts" in fails(tmp_path / "teacher")
    described = cohobate("methods", "hsakd").out
    assert "RUN_FOLDER of a run with method.name=hsakd_teacher" in described
