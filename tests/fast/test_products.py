"""A convolution as a matrix product has the values and gradients of a convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cohobate.fast.products import PaddedConv2d, Product, ProductConv2d, use_products
from cohobate.models import Classifier

SHAPES = [
    (3, 1, 1, 4, 4),
    (3, 2, 1, 8, 8),
    (3, 2, 1, 7, 5),
    (1, 1, 0, 6, 6),
    (1, 2, 0, 7, 9),
    (5, 3, 2, 9, 9),
    (2, 2, 0, 5, 5),
]


def tensors(kernel: int, stride: int, padding: int, height: int, width: int):
    draw = torch.Generator().manual_seed(kernel + stride + height)
    images = torch.randn(3, 4, height, width, generator=draw, dtype=torch.float64)
    weight = torch.randn(6, 4, kernel, kernel, generator=draw, dtype=torch.float64)
    return images.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_a_convolution(shape, order):
    images, weight = (t.to(memory_format=order) for t in tensors(*shape))
    expected = F.conv2d(images, weight, None, shape[1], shape[2])
    actual = Product.apply(images, weight, shape[1], shape[2])
    torch.testing.assert_close(actual, expected)
    above = torch.randn_like(expected)
    grads = (torch.autograd.grad(of, (images, weight), above) for of in (actual, expected))
    for mine, theirs in zip(*grads):
        torch.testing.assert_close(mine, theirs)


def conv(**given) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(256, 8, 3, padding=1, **given)
    use_products(layer)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("side, used", [(7, True), (8, False)])
def test_small_maps_are_products_in_bf16_alone(monkeypatch, bias, side, used):
    calls = []
    apply = Product.apply
    monkeypatch.setattr(Product, "apply", lambda *given: calls.append(1) or apply(*given))
    layer, images = conv(bias=bias), torch.randn(2, 256, side, side)
    full = layer(images)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        fast = layer(images)
    assert bool(calls) is used
    assert fast.dtype is torch.bfloat16
    torch.testing.assert_close(fast.float(), full, rtol=0.02, atol=0.02)
    fast.float().square().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype is torch.float32


@pytest.mark.parametrize(
    "given, kind",
    [
        ({"groups": 2}, PaddedConv2d),
        ({"dilation": 2}, PaddedConv2d),
        ({"stride": (1, 2)}, PaddedConv2d),
        ({"padding_mode": "reflect"}, nn.Conv2d),
    ],
)
def test_other_convolutions_are_no_products(given, kind):
    assert type(conv(**given)) is kind


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("sides, stride", [((1, 1), 2), ((5, 1), 2), ((2, 2), 4), ((1, 5), 4)])
def test_maps_narrower_than_a_stride_have_the_whole_gradient(groups, sides, stride):
    """Whatever memory held before: oneDNN leaves parts of it as they were."""
    layer = nn.Conv2d(64, 64, 3, stride, padding=1, groups=groups)
    use_products(layer)
    images = torch.randn(8, 64, *sides)
    layer(images).square().sum().backward()
    assert layer.weight.grad is not None and layer.bias is not None
    expected, layer.weight.grad = layer.weight.grad, None
    for _ in range(10):
        for count in (1, 2, 4):
            torch.full((64 * 64 * 9 * count,), float("nan"))
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(images)
        output.float().square().sum().backward()
        assert layer.weight.grad is not None
        close = F.cosine_similarity(layer.weight.grad.flatten(), expected.flatten(), 0)
        assert close > 0.999
        layer.weight.grad = None


def test_a_network_keeps_its_state_and_its_predictions():
    torch.manual_seed(0)
    network = Classifier("resnet18", 4).eval()
    before, images = {*network.state_dict()}, torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)
        use_products(network)
        actual = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            fast = network(images)
    assert {*network.state_dict()} == before
    assert any(isinstance(part, ProductConv2d) for part in network.modules())
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    torch.testing.assert_close(fast, expected, rtol=0.05, atol=0.05)
