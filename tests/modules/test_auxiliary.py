"""Auxiliary heads on every stage: of the published size, and of some kind on any network."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cohobate.losses import total
from cohobate.models import Classifier, Tail
from cohobate.modules import AuxiliaryHeads

# Millions of parameters of the heads, and billions of multiply-adds of network and heads, as
# measured on HSAKD's released networks: 4 × 100 joint classes, and 4 × 1000 of ImageNet.
PUBLISHED = {
    "cifar_wrn_40_2": (5.77, 0.768),
    "cifar_wrn_16_2": (1.93, 0.240),
    "cifar_wrn_40_1": (1.48, 0.193),
    "cifar_resnet56": (2.21, 0.293),
    "cifar_resnet20": (0.76, 0.094),
    "cifar_resnet32x4": (18.91, 2.543),
    "cifar_resnet8x4": (3.56, 0.429),
    "cifar_vgg13": (37.05, 1.003),
    "cifar_resnet50": (76.98, 3.600),
    "cifar_mobilenetv2_hsakd": (4.67, 0.087),
    "cifar_shufflenetv1": (3.12, 0.087),
    "cifar_shufflenetv2": (4.52, 0.117),
    "resnet18": (47.56, 4.75),
}
# The size of the images, and which heads are copies of stages, shallow to deep.
KINDS = {
    "cifar_resnet8": (32, [True, True, True]),
    "cifar_preact_resnet18": (32, [True, True, True, True]),
    "cifar_wrn_16_1": (32, [True, True, True]),
    "cifar_vgg8": (32, [True, True, True, True]),
    "cifar_vgg11": (64, [True, True, True, True]),
    "cifar_mobilenetv2": (32, [True, True, True, True]),
    "cifar_shufflenetv1": (32, [True, True, True]),
    "cifar_shufflenetv2": (32, [True, True, True]),
    "resnet14t": (64, [True, True, True, False]),
    "resnet18": (64, [True, True, True, True]),
    "convnext_atto": (64, [True, True, True, False]),
    "test_vit": (64, [False, False, False, False]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name):
    classes, size = (100, 32) if name.startswith("cifar_") else (1000, 224)
    parameters, operations = PUBLISHED[name]
    model = Classifier(name, classes)
    heads = AuxiliaryHeads(model, 4 * classes).to("meta")
    assert round(sum(p.numel() for p in heads.parameters()) / 1e6, 2) == parameters
    model.to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        heads(model.trace(torch.empty(1, 3, size, size, device="meta")).stages)
    digits = 3 if classes == 100 else 2
    assert round(counter.get_total_flops() / 2e9, digits) == operations


@pytest.mark.parametrize("name", KINDS)
def test_every_stage_has_a_head_of_its_own(name):
    size, copies = KINDS[name]
    torch.manual_seed(0)
    model = Classifier(name, 5, size=size)
    heads = AuxiliaryHeads(model, 20)
    assert len(heads) == len(model.stages)
    assert [isinstance(part, Tail) for part in heads.parts] == copies
    assert heads.note.startswith(f"{len(copies)} auxiliary heads: ")
    assert ("generic" in heads.note) != all(copies)
    logits = heads([f.detach() for f in model.trace(torch.rand(2, 3, size, size)).stages])
    assert [(tuple(z.shape), z.dtype) for z in logits] == [((2, 20), torch.float32)] * len(heads)
    total(z.square().sum() for z in logits).backward()
    assert [key for key, p in heads.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in model.parameters())
    pointers = [p.data_ptr() for p in (*model.parameters(), *heads.parameters())]
    assert len(set(pointers)) == len(pointers)


def test_the_last_head_is_a_stage_of_stride_one_with_its_own_weights():
    model = Classifier("cifar_resnet20", 5)
    *_, last = AuxiliaryHeads(model, 20).parts
    stage, theirs = last.net.layer3, model.net.layer3
    assert len(stage) == len(theirs)
    maps = torch.rand(2, 64, 8, 8)
    assert stage(maps).shape == maps.shape
    weight = stage[0].conv1.conv.weight
    assert weight.shape == (64, 64, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_a_network_without_stages_is_refused():
    model = Classifier("cifar_resnet8", 5)
    model.stages = ()
    with pytest.raises(ValueError, match=r"'cifar_resnet8' has 0 stages .* 1 or more"):
        AuxiliaryHeads(model, 20)
