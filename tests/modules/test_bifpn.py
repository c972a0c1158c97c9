"""The network that refines maps: against its formulas in float64, its sizes, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cohobate.models import Classifier
from cohobate.modules import BiFPN, PyramidTeacher
from cohobate.modules.bifpn import Node

Array = np.ndarray


def array(value: torch.Tensor) -> Array:
    return value.detach().double().numpy()


def relu(value: Array) -> Array:
    return np.maximum(value, 0)


def layer(module: nn.Module, x: Array) -> Array:
    """A 1 × 1 or depthwise 3 × 3 convolution, a batch norm in training, or a ReLU, by its formula."""
    if isinstance(module, nn.ReLU):
        return relu(x)
    weight = array(module.weight)
    if isinstance(module, nn.BatchNorm2d):
        mean, var = (f((0, 2, 3), keepdims=True) for f in (x.mean, x.var))
        bias = array(module.bias)
        return (x - mean) / np.sqrt(var + 1e-5) * weight[:, None, None] + bias[:, None, None]
    if weight.shape[-1] == 1:
        return np.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[-2:]
    parts = [
        weight[:, 0, dy, dx, None, None] * padded[:, :, dy : dy + height, dx : dx + width]
        for dy in range(3)
        for dx in range(3)
    ]
    return np.sum(parts, 0)


def layers(part: Any, x: Array) -> Array:
    for module in part:
        x = layer(module, x)
    return x


def node(part: Node, *maps: Array) -> Array:
    weight = relu(array(part.weight))
    return layers(part.layers, sum(w / (weight.sum() + 1e-6) * m for w, m in zip(weight, maps)))


def doubled(x: Array, height: int, width: int) -> Array:
    """Every pixel two by two times; the last row and column cut where the size is odd."""
    return x.repeat(2, 2).repeat(2, 3)[:, :, :height, :width]


def halved(x: Array) -> Array:
    """Maxima of 3 × 3 pixels; the odd one of an even size's two missing pixels is at the end."""
    height, width = x.shape[-2:]
    top, left = height % 2, width % 2
    rows = [slice(max(0, y - top), y - top + 3) for y in range(0, height, 2)]
    columns = [slice(max(0, x - left), x - left + 3) for x in range(0, width, 2)]
    return np.stack([np.stack([x[:, :, r, c].max((2, 3)) for c in columns], -1) for r in rows], -2)


def reference(net: BiFPN, maps: list[Array]) -> list[Array]:
    n = len(maps)
    maps = [relu(f) for f in maps]
    low = [layers(net.lateral[i], maps[i]) for i in range(n)]
    p = dict(enumerate(low[-1:], n - 1))
    for i in range(n - 2, -1, -1):
        above = layers(net.up[i], doubled(relu(p[i + 1]), *low[i].shape[-2:]))
        p[i] = node(net.top_down[i], low[i], above)
    t = [p[0]]
    for i in range(1, n):
        high = layers(net.second_lateral[i - 1], maps[i])
        below = layers(net.down[i - 1], halved(relu(t[i - 1])))
        middle = [relu(p[i])] if i < n - 1 else []
        t.append(node(net.bottom_up[i - 1], high, *middle, below))
    return t


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    "sizes", [[(8, 8), (4, 4)], [(8, 6), (4, 3), (2, 2)], [(15, 15), (8, 8), (4, 4), (2, 2)]]
)
def test_refined_maps(sizes, depth):
    torch.manual_seed(0)
    channels = [2, 3, 5, 4][: len(sizes)]
    net = BiFPN(channels, width=2, depth=depth)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:  # fusion weights and batch norms that are all different
                parameter.copy_(torch.rand_like(parameter) + 0.2)
        net.top_down[0].weight[1] = -0.5
    maps = [torch.randn(3, c, *size) for c, size in zip(channels, sizes)]
    actual, expected = net(maps), reference(net, [array(f) for f in maps])
    assert [t.shape for t in actual] == [(3, 2 * c, *size) for c, size in zip(channels, sizes)]
    for a, b in zip(actual, expected):
        np.testing.assert_allclose(array(a), b, rtol=1e-3, atol=1e-4)
    assert any(t.min() < 0 for t in actual)  # not rectified


def test_a_node_weighs_its_inputs_by_their_share():
    part = Node(3, 1, 1)
    part.layers = nn.Sequential()
    with torch.no_grad():
        part.weight.copy_(torch.tensor([1.0, -2.0, 3.0]))
    maps = [torch.full((1, 1, 2, 2), value) for value in (10.0, 100.0, 2.0)]
    assert part(*maps).unique().tolist() == pytest.approx([(1 * 10 + 3 * 2) / 4], rel=1e-5)


def test_second_lateral_is_another_one():
    net = BiFPN([2, 3, 4])
    assert [len(part) for part in (net.lateral, net.second_lateral)] == [3, 2]
    pointers = [p.data_ptr() for p in net.parameters()]
    assert len(set(pointers)) == len(pointers)


COSTS = {
    "cifar_resnet18-w2d2": ("cifar_resnet18", 100, 32, 2, 2, 6.376, 0.392, 0.57, 0.71),
    "cifar_resnet18-w1d1": ("cifar_resnet18", 100, 32, 1, 1, 1.539, 0.088, 0.14, 0.16),
    "cifar_wrn_16_2": ("cifar_wrn_16_2", 100, 32, 2, 2, 0.412, 0.068, 0.59, 0.67),
    "resnet18": ("resnet18", 200, 224, 2, 2, 6.478, 1.201, 0.57, 0.66),
}


def macs(part: Any, *inputs: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("case", COSTS.values(), ids=COSTS)
def test_costs_as_measured_on_the_released_networks(case):
    arch, classes, size, width, depth, millions, giga, share, work = case
    with torch.device("meta"):
        model = Classifier(arch, classes, size=size)
        teacher = PyramidTeacher(model, width=width, depth=depth)
    count, own = (sum(p.numel() for p in part.parameters()) for part in (teacher, model))
    images = torch.empty(1, 3, size, size, device="meta")
    cost = macs(teacher, model.trace(images).stages)
    assert (round(count / 1e6, 3), round(cost / 1e9, 3)) == (millions, giga)
    assert (round(count / own, 2), round(cost / macs(model, images), 2)) == (share, work)


def test_costs_of_a_constant_width():
    """The paper's ablation: EfficientDet's 256 channels on every level of a WRN-16-2."""
    with torch.device("meta"):
        model = Classifier("cifar_wrn_16_2", 100, size=32)
        teacher = PyramidTeacher(model, constant=256)
    assert teacher.bifpn.widths == [256, 256, 256]
    count, own = (sum(p.numel() for p in part.parameters()) for part in (teacher, model))
    images = torch.empty(1, 3, 32, 32, device="meta")
    cost = macs(teacher, model.trace(images).stages) / macs(model, images)
    assert count / own == pytest.approx(0.97, abs=0.005)
    assert cost == pytest.approx(2.35, abs=0.006)


def test_a_pyramid_teacher_pools_its_last_map():
    torch.manual_seed(0)
    model = Classifier("cifar_resnet8", 5)
    teacher = PyramidTeacher(model)
    trace = teacher(model.trace(torch.rand(2, 3, 32, 32)).stages)
    pooled = relu(array(trace.stages[-1])).mean((2, 3))
    np.testing.assert_allclose(array(trace.embedding), pooled, rtol=1e-5, atol=1e-6)
    head = teacher.classifier
    expected = pooled @ array(head.weight).T + array(head.bias)
    np.testing.assert_allclose(array(trace.logits), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name, size", [("cifar_vgg8", 32), ("efficientnet_b0", 65), ("regnetx_002", 64)]
)
def test_any_pyramid_will_do(name, size):
    torch.manual_seed(0)
    model = Classifier(name, 5, size=size)
    trace = PyramidTeacher(model)(model.trace(torch.rand(2, 3, size, size)).stages)
    assert trace.logits.shape == (2, 5)


@pytest.mark.parametrize(
    "name, size, listed",
    [
        ("test_vit", 32, "2 × 2, 2 × 2, 2 × 2, 2 × 2"),  # one resolution
        ("resnet18", 16, "4 × 4, 2 × 2, 1 × 1, 1 × 1"),  # nothing left to pool
        ("densenet121", 60, "15 × 15, 7 × 7, 3 × 3, 1 × 1"),  # rounded down
    ],
)
def test_what_is_no_pyramid_is_refused(name, size, listed):
    model = Classifier(name, 5, size=size)
    with pytest.raises(ValueError, match=f"'{name}' has stages of {listed} .* {size} pixels.*: ch"):
        PyramidTeacher(model)


def test_a_single_stage_is_no_pyramid():
    model = Classifier("cifar_resnet8", 5)
    model.stages = model.stages[-1:]
    with pytest.raises(ValueError, match="two stages or more"):
        PyramidTeacher(model)
