"""Telling maps of mixtures from mixtures of maps."""

from math import exp, log

import pytest
import torch

from cohobate.modules import Discriminator


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(6, width=5)


def test_layers():
    part = Discriminator(512)
    assert [tuple(p.shape) for p in part.parameters()] == [(128, 512), (128,), (2, 128), (2,)]


def test_loss_by_hand(discriminator):
    """Two layers on pooled maps, binary cross-entropy, (1, 0) for the first kind; mean of 2B × 2."""
    first, second = torch.randn(3, 6, 2, 4), 2 * torch.randn(3, 6, 2, 4)
    w1, b1, w2, b2 = (p.tolist() for p in discriminator.parameters())
    terms = []
    for maps, label in ((first, (1, 0)), (second, (0, 1))):
        for row in maps.tolist():
            pooled = [sum(map(sum, channel)) / 8 for channel in row]
            hidden = [max(0, b + sum(w * x for w, x in zip(ws, pooled))) for ws, b in zip(w1, b1)]
            for ws, b, y in zip(w2, b2, label):
                p = 1 / (1 + exp(-b - sum(w * h for w, h in zip(ws, hidden))))
                terms.append(-log(p) if y else -log(1 - p))
    assert len(terms) == 12
    actual = discriminator.loss(first, second).item()
    assert actual == pytest.approx(sum(terms) / 12, rel=1e-5)
    assert discriminator.loss(second, first).item() != pytest.approx(actual, rel=1e-3)


def test_learns_to_tell_them_apart(discriminator):
    first, second = torch.randn(16, 6, 2, 2) + 1, torch.randn(16, 6, 2, 2) - 1
    optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        discriminator.loss(first, second).backward()
        optimizer.step()
    assert (discriminator(first.mean((2, 3))).argmax(1) == 0).float().mean() > 0.9
    assert (discriminator(second.mean((2, 3))).argmax(1) == 1).float().mean() > 0.9


def test_gradients_reach_both_maps_and_every_parameter(discriminator):
    first, second = (torch.randn(8, 6, 2, 2, requires_grad=True) for _ in range(2))
    discriminator.loss(first, second).backward()
    assert all(v.grad.any() for v in (first, second, *discriminator.parameters()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loss_is_float32_of_half_precision_maps(discriminator, dtype):
    first, second = torch.randn(4, 6, 2, 2), torch.randn(4, 6, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        value = discriminator.loss(first.to(dtype), second.to(dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, discriminator.loss(first, second), rtol=0.05, atol=0.01)
