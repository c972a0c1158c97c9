"""Maps of any two networks are brought to one shape, found out by a dry run."""

import pytest
import torch
import torch.nn.functional as F

from cohobate.models import Classifier
from cohobate.modules import Connector
from cohobate.modules.connector import Shape, pairs, resized, shapes

VIT = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 48}


@pytest.mark.parametrize("arch, options", [("cifar_resnet8", {}), ("vit_tiny_patch16_224", VIT)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shapes_are_those_of_a_trace(arch, options, device):
    model = Classifier(arch, 5, **options)
    trace = model.eval().trace(torch.zeros(1, 3, 32, 32))
    model.train().to(device)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = shapes(model, 32)
    assert found.embedding == trace.embedding.shape[1]
    assert found.maps == [tuple(f.shape[1:]) for f in trace.stages]
    assert model.training
    if device == "cpu":
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_the_last_meets_the_last():
    assert pairs("abc", "abc") == [(0, 0), (1, 1), (2, 2)]
    assert pairs("ab", "abcd") == [(0, 1), (1, 3)]
    assert pairs("abcd", "abc") == [(0, 0), (1, 1), (3, 2)]


def test_resized_averages_down_and_interpolates_up():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(resized(maps, 2, 2), F.avg_pool2d(maps, 2))
    assert resized(maps, 4, 4) is maps
    up = resized(maps, 8, 8)
    assert up.shape == (1, 1, 8, 8)
    assert up.min() >= 0
    assert up.max() <= 15


@pytest.mark.parametrize("source, target", [((3, 8, 8), (5, 4, 4)), ((6, 4, 4), (2, 9, 7))])
def test_a_connector_gives_the_shape_of_its_target(source, target):
    connector = Connector(Shape(*source), Shape(*target), rectified=True)
    maps = connector(torch.randn(2, *source))
    assert maps.shape == (2, *target)
    assert maps.min() >= 0
    assert connector.joins == " × ".join(map(str, source)) + " → " + " × ".join(map(str, target))
