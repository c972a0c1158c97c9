"""What detectors learn from detectors, against the formulas with loops in float64."""

from copy import deepcopy
from math import exp, log

import numpy as np
import pytest
import torch

from cohobate.core import Batch, Progress
from cohobate.losses import total
from cohobate.methods.detection_kd import DetectionKD
from cohobate.methods.pkd import PKD
from cohobate.models import Detector

CLASSES = 3
NOW = Progress(torch.tensor(0), 1, torch.tensor(0), 1)


def detector(kind, seed, **given) -> Detector:
    torch.manual_seed(seed)
    shape = {"detector": kind, "width": 64 if kind == "fcos" else 32, "size": 32, **given}
    network = Detector("test_resnet", CLASSES, **shape)
    with torch.no_grad():
        for name, p in network.heads.named_parameters():  # opinions that differ
            if p.ndim > 1 and ("cls" in name or "classification" in name):
                p.mul_(30 if p.ndim == 2 else 8)
    return network


@pytest.fixture(scope="module")
def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    targets = detector("fcos", 0).noise_targets(2, 32, draw)
    empty = {k: v[:0] for k, v in targets[0].items()} | {"size": torch.tensor([32, 32])}
    return Batch(torch.rand(3, 3, 32, 32, generator=draw), (*targets, empty), torch.arange(3))


def made(name, kind, **given):
    kinds = {"pkd": PKD, "detection_kd": DetectionKD}
    other = {"width": given.pop("width")} if "width" in given else {}
    return kinds[name](detector(kind, 0), teacher=detector(kind, 1, **other), **given)


def run(method, batch):
    torch.manual_seed(5)
    return method(batch, NOW)


CASES = [("pkd", "fcos", {"width": 96}), ("pkd", "fasterrcnn", {})]
CASES += [("detection_kd", kind, {}) for kind in ("retinanet", "fasterrcnn")]


@pytest.mark.parametrize(("name", "kind", "given"), CASES)
def test_contract(name, kind, given, batch):
    method = made(name, kind, **given)
    before = deepcopy(method.teacher.state_dict())
    losses = run(method, batch)
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    method.teacher.net.requires_grad_(True)
    total(losses.values()).backward()
    own = {n: p for n, p in method.named_parameters() if not n.startswith("teacher.")}
    assert not [n for n, p in own.items() if p.grad is None or not p.grad.isfinite().all()]
    assert all(p.grad is None for p in method.teacher.parameters())
    torch.testing.assert_close(method.teacher.state_dict(), before, rtol=0, atol=0)
    twin = made(name, kind, **given)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.01)
    twin.load_state_dict(method.state_dict())
    torch.testing.assert_close(run(twin, batch), run(method, batch), rtol=0, atol=0)


def test_pkd_is_its_formula(batch):
    method = made("pkd", "retinanet", alpha=2.5)
    mine, theirs = (
        [level.detach().double().numpy() for level in net.backbone(batch.images)]
        for net in (method.model, method.teacher.net)
    )
    expected = 0.0
    for a, b in zip(mine, theirs):
        for channel in range(a.shape[1]):
            s, t = a[:, channel].flatten(), b[:, channel].flatten()
            s, t = ((x - x.mean()) / x.std() for x in (s, t))
            expected += 2.5 * sum((s - t) ** 2) / (2 * len(s)) / a.shape[1]
    losses = run(method, batch)
    assert losses["feature"].item() == pytest.approx(expected, rel=1e-4)
    plain = run_losses(method.model, batch)
    assert {k: float(v) for k, v in losses.items() if k != "feature"} == pytest.approx(plain)


def run_losses(model, batch):
    torch.manual_seed(5)
    return {name: float(loss) for name, loss in model.losses(batch).items()}


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_detection_kd_of_one_stage_is_its_formula(batch):
    method = made("detection_kd", "retinanet", temperature=2.0, alpha=0.5).eval()
    with torch.no_grad():
        s, t = (
            net.heads.net.head(net.backbone(batch.images))["cls_logits"].flatten(0, 1).numpy()
            for net in (method.model, method.teacher.net)
        )
    rows = np.linspace(0, len(s) - 1, len(s)).astype(int)
    above = below = 0.0
    for row in rows:
        rich = max(sigmoid(float(z)) for z in t[row])
        below += rich
        for a, b in zip(s[row].astype(float) / 2, t[row].astype(float) / 2):
            p, q = sigmoid(b), sigmoid(a)
            above += rich * (p * log(p / q) + (1 - p) * log((1 - p) / (1 - q)))
    with torch.no_grad():
        found = run(method, batch)["kd"].item()
    assert found > 1e-3
    assert found == pytest.approx(0.5 * 4 * above / below, rel=1e-3)


def test_detection_kd_of_two_stages_asks_the_teacher_of_the_students_boxes(batch):
    method = made("detection_kd", "fasterrcnn", temperature=2.0, alpha=3.0).eval()
    student, teacher = method.model, method.teacher.net
    with torch.no_grad():
        torch.manual_seed(5)
        places = student.answer(batch).places
        assert places is not None and all(len(boxes) > 2 for boxes in places)
        both = []
        for net in (student, teacher):
            levels = {str(k): level for k, level in enumerate(net.backbone(batch.images))}
            heads = net.heads.net.roi_heads
            pooled = heads.box_roi_pool(levels, places, [(32, 32)] * 3)
            both.append(heads.box_predictor(heads.box_head(pooled))[0].double().numpy())
        found = run(method, batch)["kd"].item()
    expected = 0.0
    for s, t in zip(*both):
        q, p = (np.exp(z / 2) / np.exp(z / 2).sum() for z in (s, t))
        expected += 3.0 * 4 * sum(a * log(a / b) for a, b in zip(p, q)) / len(both[0])
    assert found == pytest.approx(expected, rel=1e-3)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not classify the same boxes"):
        DetectionKD(detector("fcos", 0), teacher=detector("retinanet", 1))
    with pytest.raises(ValueError, match="does not classify the same boxes"):
        DetectionKD(detector("fasterrcnn", 0), teacher=detector("fcos", 1))
    small = Detector("cifar_resnet8", CLASSES, detector="fcos", width=64, size=32)
    with pytest.raises(ValueError, match=r"strides 4, 8, 16, 32, 64.*4, 8, 16\) differ"):
        DetectionKD(detector("fcos", 0), teacher=small)
    assert len(PKD(detector("fcos", 0), teacher=small).met) == 3
