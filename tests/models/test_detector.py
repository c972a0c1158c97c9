"""Detectors: what they say of padded batches, what torchvision says of the same, what they refuse."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from cohobate.core import Batch
from cohobate.losses import total
from cohobate.models import Detector

LOSSES = {
    "fasterrcnn": {"objectness", "rpn_box", "class", "box"},
    "maskrcnn": {"objectness", "rpn_box", "class", "box", "mask"},
    "retinanet": {"class", "box"},
    "fcos": {"class", "box", "centerness"},
}
CLASSES = 3


def detector(kind="retinanet", arch="test_resnet", **given) -> Detector:
    torch.manual_seed(0)
    width = 64 if kind == "fcos" else 32
    return Detector(arch, CLASSES, **{"detector": kind, "width": width, "size": 64, **given})


def target(boxes, labels, crowd=None, size=(32, 64)):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    inside = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(inside, boxes.long().tolist()):
        mask[top:bottom, left:right] = 1
    return {
        "boxes": boxes,
        "labels": torch.tensor(labels, dtype=torch.int64),
        "area": (boxes[:, 2:] - boxes[:, :2]).prod(1),
        "crowd": torch.tensor(crowd or [False] * len(boxes), dtype=torch.bool),
        "size": torch.tensor(size),
        "original": torch.tensor(size),
        "masks": inside,
    }


def batch(targets=None) -> Batch:
    targets = targets or (
        target([[2, 2, 14, 16], [30, 10, 44, 28]], [2, 0]),
        target([], []),
        target([[36, 6, 60, 26]], [1], size=(32, 64)),
    )
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(len(targets), 3, 32, 64, generator=draw)
    return Batch(images, tuple(targets), torch.arange(len(targets)))


def losses(network, given):
    torch.manual_seed(7)
    return network.losses(given)


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_are_finite_and_reach_every_parameter_with_and_without_boxes(kind):
    network = detector(kind)
    for given in (batch(), batch([target([], []), target([], [])])):
        network.zero_grad()
        found = losses(network, given)
        assert {*found} == LOSSES[kind]
        for loss in found.values():
            assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite()
        total(found.values()).backward()
        grads = {name: p.grad for name, p in network.named_parameters()}
        assert not [
            name for name, grad in grads.items() if grad is None or not grad.isfinite().all()
        ]


class Given(nn.Module):
    """Levels that are there already."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels

    def forward(self, images):
        return {str(place): level for place, level in enumerate(self.levels)}


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_boxes_are_those_of_torchvisions_own_forward(kind):
    network, given = detector(kind), batch()
    with torch.no_grad():
        for p in network.heads.parameters():  # so that something is found
            p.mul_(4 if kind in ("fasterrcnn", "maskrcnn") else 1)
        if kind in ("retinanet", "fcos"):
            network.heads.net.head.classification_head.cls_logits.bias.fill_(0)
    theirs = deepcopy(network.heads.net)
    plain = GeneralizedRCNNTransform(32, 64, [0.0] * 3, [1.0] * 3, _skip_resize=True)
    theirs.transform = plain
    first = int(kind in ("fasterrcnn", "maskrcnn"))
    targets = [{**t, "labels": t["labels"] + first} for t in given.targets]
    network.encoder.eval()
    with torch.no_grad():
        theirs.backbone = Given(network.backbone(given.images))
        torch.manual_seed(7)
        expected = theirs.train()([*given.images], targets)
        found = losses(network, given)
        boxes = theirs.eval()([*given.images])
        ours = network.eval().detect(given.images, [(32, 64)] * 3)
    assert sorted(map(float, found.values())) == pytest.approx(
        sorted(map(float, expected.values()))
    )
    assert sum(len(each["boxes"]) for each in boxes) > 10
    for mine, other in zip(ours, boxes):
        torch.testing.assert_close(mine["boxes"], other["boxes"])
        torch.testing.assert_close(mine["scores"], other["scores"])
        assert torch.equal(mine["labels"], other["labels"] - first)


@pytest.mark.parametrize("kind", ["retinanet", "fasterrcnn"])
def test_what_is_found_lies_in_the_image_and_not_in_its_padding(kind):
    network = detector(kind).eval()
    with torch.no_grad():
        for name, p in network.heads.named_parameters():
            if name.endswith("cls_logits.bias"):
                p.fill_(1)
    sizes = [(20, 30), (32, 64)]
    found = network.detect(torch.rand(2, 3, 32, 64), sizes)
    for each, (high, wide) in zip(found, sizes):
        assert len(each["boxes"]) > 0
        assert (each["boxes"] >= 0).all()
        assert (each["boxes"] <= torch.tensor([wide, high, wide, high])).all()
        assert ((each["labels"] >= 0) & (each["labels"] < CLASSES)).all()
        assert ((each["scores"] > 0) & (each["scores"] <= 1)).all()


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
def test_crowds_are_not_learnt(kind):
    network = detector(kind)
    plain = batch([target([[2, 2, 14, 16]], [2])])
    crowded = batch([target([[2, 2, 14, 16], [20, 10, 50, 30]], [2, 1], [False, True])])
    torch.testing.assert_close(losses(network, crowded), losses(network, plain), rtol=0, atol=0)


@pytest.mark.parametrize("kind", LOSSES)
def test_half_precision_changes_little_and_losses_stay_float32(kind):
    network = detector(kind).eval()
    full = losses(network, batch())
    with torch.autocast("cpu", torch.bfloat16):
        half = losses(network, batch())
        boxes = network.detect(batch().images, [(32, 64)] * 3)
    assert {loss.dtype for loss in half.values()} == {torch.float32}
    assert {each["boxes"].dtype for each in boxes} == {torch.float32}
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("kind", LOSSES)
def test_can_be_counted_without_values(kind):
    """On the meta device the losses have the same names, and reach the same parameters."""
    network = detector(kind).to("meta")
    targets = tuple({k: v.to("meta") for k, v in each.items()} for each in batch().targets)
    found = network.losses(batch()._replace(images=batch().images.to("meta"), targets=targets))
    assert {*found} == LOSSES[kind]
    total(found.values()).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None]


def test_a_twin_from_the_state_and_a_fresh_one():
    network, images = detector().eval(), batch().images
    twin = network.fresh().eval()
    with torch.no_grad():
        assert not torch.equal(twin.backbone(images)[0], network.backbone(images)[0])
        twin.load_state_dict(network.state_dict())
        torch.testing.assert_close(losses(twin, batch()), losses(network, batch()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arch", "kind", "size", "strides"),
    [
        ("test_resnet", "retinanet", 64, [4, 8, 16, 32, 64]),
        ("test_resnet", "retinanet", 800, [8, 16, 32, 64, 128]),
        ("test_resnet", "fasterrcnn", 800, [4, 8, 16, 32, 64]),
        ("mobilenetv3_small_050", "fcos", 64, [4, 8, 16, 32, 64]),
        ("cifar_resnet8", "retinanet", 64, [4, 8, 16]),
    ],
)
def test_levels_and_anchors(arch, kind, size, strides):
    network = detector(kind, arch, size=size)
    assert network.backbone.strides == strides
    levels = network.backbone(torch.rand(1, 3, 64, 128))
    assert [tuple(each.shape[1:]) for each in levels] == [
        (network.width, max(1, 64 // stride), max(1, 128 // stride)) for stride in strides
    ]


def test_freezing_keeps_the_encoder_and_its_batch_norm():
    network = detector()
    network.freeze("backbone")
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    network.train()
    total(network.losses(batch()).values()).backward()
    assert all(torch.equal(v, before[k]) for k, v in network.encoder.state_dict().items())
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.head().parameters())


def test_frozen_batch_norm_keeps_its_statistics_while_the_rest_learns():
    network = detector(frozen_bn=True).train()
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    total(network.losses(batch()).values()).backward()
    assert all(torch.equal(v, before[k]) for k, v in network.encoder.state_dict().items())
    norms = [part for part in network.encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    frozen = {p for norm in norms for p in norm.parameters()}
    assert frozen and all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in network.parameters() if p not in frozen)
    network.freeze(1)
    assert not any(norm.training for norm in norms)


def test_what_cannot_be_built_is_told():
    with pytest.raises(ValueError, match="vit_tiny_patch16_224' is no pyramid"):
        detector(arch="vit_tiny_patch16_224")
    with pytest.raises(ValueError, match="nest_tiny' takes images of one size alone"):
        detector(arch="nest_tiny")
    with pytest.raises(ValueError, match="unknown detector 'retina': did you mean 'retinanet'"):
        detector("retina")
    with pytest.raises(ValueError, match=r"model\.width=40 should be a multiple of 32"):
        detector(width=40)
    without = [{k: v for k, v in each.items() if k != "masks"} for each in batch().targets]
    with pytest.raises(ValueError, match=r'choose model\.detector="fasterrcnn"'):
        detector("maskrcnn").losses(batch(without))
