"""The maps of a network before the last ReLU of each stage, and the margins of what is negative."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cohobate.methods import METHODS
from cohobate.models import Classifier
from cohobate.modules.distance import margin
from cohobate.modules.taps import Margins, before_activation, last_norm, measured, tapped

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
RAW = "before the last ReLU of each stage"


@pytest.fixture(params=["cifar_resnet14", "cifar_vgg8", "cifar_shufflenetv2"])
def rectified(request) -> Classifier:
    torch.manual_seed(0)
    return Classifier(request.param, 5).eval()


@pytest.fixture(params=["cifar_wrn_16_1", "cifar_mobilenetv2", "resnet10t", "test_vit"])
def other(request) -> Classifier:
    torch.manual_seed(0)
    return Classifier(request.param, 5, size=32).eval()


def test_what_a_relu_makes_of_the_maps_is_the_trace(rectified):
    raw, trace = before_activation(rectified, IMAGES), rectified.trace(IMAGES)
    assert all((maps < 0).any() for maps in raw.stages)
    torch.testing.assert_close([F.relu(maps) for maps in raw.stages], trace.stages)
    torch.testing.assert_close((raw.logits, raw.embedding), (trace.logits, trace.embedding))
    assert tapped(rectified) == RAW


def test_other_networks_are_read_as_they_are_tapped(other):
    raw, trace = before_activation(other, IMAGES), other.trace(IMAGES)
    torch.testing.assert_close((*raw.stages, *raw[:2]), (*trace.stages, *trace[:2]))
    assert tapped(other) == "as they are tapped"
    assert [last_norm(other, stage) for stage in other.stages] == [None] * len(other.stages)


def test_the_norm_that_a_stage_ends_in_is_that_of_its_main_branch():
    """A ResNet-8 has a shortcut with a batch norm in the last block of its second stage."""
    model = Classifier("cifar_resnet8", 5)
    last = [stage[-1].conv2.bn for stage in (model.net.layer1, model.net.layer2)]
    assert [last_norm(model, stage) for stage in model.stages[:2]] == last
    vgg = Classifier("cifar_vgg8", 5)
    assert last_norm(vgg, vgg.stages[-1]) is vgg.net.layer4[-1].bn
    shuffled = Classifier("cifar_shufflenetv2", 5)  # half of the channels pass its last norm
    assert last_norm(shuffled, shuffled.stages[-1]) is None


def test_margins_are_those_of_the_norms_or_of_the_batch():
    model = Classifier("cifar_resnet8", 5)
    nn.init.normal_(model.net.layer2[-1].conv2.bn.bias)
    maps = [torch.randn(2, stage.channels, 4, 4) for stage in model.stages]
    known = Margins(model, model.stages)(maps)
    torch.testing.assert_close(known[1], margin(model.net.layer2[-1].conv2.bn))
    wide = Classifier("cifar_wrn_16_1", 5)
    margins = Margins(wide, wide.stages)
    assert not margins.state_dict()
    torch.testing.assert_close(margins(maps), [measured(f) for f in maps])


@pytest.mark.parametrize("name", ["byot", "sad", "uskd"])
def test_a_network_of_too_few_stages_is_refused(name):
    model = Classifier("cifar_resnet8", 5)
    model.stages = model.stages[-1:]
    sentence = "'cifar_resnet8' has 1 stage that timm can tap, .* needs 2 or more: choose another"
    with pytest.raises(ValueError, match=sentence):
        METHODS[name](model)


def test_measured_is_the_mean_of_what_is_negative():
    maps = torch.tensor([[[[-1.0, 2.0], [0.0, -4.0]], [[1.0, 0.0], [3.0, 2.0]]]]).repeat(2, 1, 1, 1)
    maps[1, 0, 0, 0] = -7
    assert measured(maps).flatten().tolist() == [-4.0, 0.0]
    assert not measured(maps.requires_grad_()).requires_grad
