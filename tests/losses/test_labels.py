"""Losses of logits and labels, where it is easy and where it is not."""

from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor

from cohobate.losses import (
    entropy,
    focal,
    normalised,
    virtual_kl,
    virtual_softmax,
    virtual_teacher,
)

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(1, 2), (7, 5), (3, 10_000)]


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes_of(logits: Tensor) -> Tensor:
    return torch.arange(len(logits)) * 3 % logits.shape[1]


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    parts = [exp(z - top) for z in row]
    return [part / sum(parts) for part in parts]


def extreme(rows: int, classes: int) -> Tensor:
    """Rows that are sure of the first class, sure of the second, and of equal logits."""
    logits = torch.full((3 * rows, classes), -1e4)
    logits[:rows, 0] = logits[rows : 2 * rows, 1] = 1e4
    logits[2 * rows :] = 0
    return logits


def finite(loss: Any, *inputs: Tensor) -> Tensor:
    """A loss of leaves that is finite, in float32, with finite gradients."""
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    value = loss(*leaves)
    assert value.dtype is torch.float32
    assert value.isfinite().all()
    value.sum().backward()
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)
    return value.detach()


def slopes(loss: Any, *inputs: Tensor) -> bool:
    """Against finite differences; steps are wide, for the losses compute in float32."""
    leaves = tuple(value.double().requires_grad_() for value in inputs)
    return torch.autograd.gradcheck(loss, leaves, eps=1e-2, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("rows, classes", SHAPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal(rows, classes, gamma):
    logits = draw(rows, classes, scale=3)
    targets = classes_of(logits)
    probabilities = [softmax(row) for row in logits.tolist()]
    expected = [-((1 - p[y]) ** gamma) * log(p[y]) for p, y in zip(probabilities, targets.tolist())]
    assert focal(logits, targets, gamma).tolist() == pytest.approx(expected, rel=1e-4)


def test_focal_without_gamma_is_the_cross_entropy():
    logits = draw(6, 5, scale=3)
    expected = torch.nn.functional.cross_entropy(logits, classes_of(logits), reduction="none")
    torch.testing.assert_close(focal(logits, classes_of(logits), 0.0), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10_000])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_at_extremes(dtype, classes, gamma):
    """A sure and right row costs nothing, a sure and wrong one the gap of its logits."""
    logits = extreme(1, classes).to(dtype)
    targets = torch.zeros(3, dtype=torch.int64)
    values = finite(lambda z: focal(z, targets, gamma), logits)
    gap = (logits[0, 0].float() - logits[0, 1].float()).item()
    even = (1 - 1 / classes) ** gamma * log(classes)
    assert values.tolist() == pytest.approx([0, gap, even], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradient_of_focal(gamma):
    logits = draw(3, 4)
    assert slopes(lambda z: focal(z, classes_of(logits), gamma), logits)


@pytest.mark.parametrize("rows, classes", SHAPES)
def test_entropy(rows, classes):
    logits = draw(rows, classes, scale=3)
    rows_of = [-sum(p * log(p) for p in softmax(row)) for row in logits.tolist()]
    assert entropy(logits).item() == pytest.approx(sum(rows_of) / rows, rel=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10_000])
def test_entropy_at_extremes(dtype, classes):
    """Nothing where a row is sure, log C where it does not know; a third of these rows do not."""
    value = finite(entropy, extreme(1, classes).to(dtype))
    assert value.item() == pytest.approx(log(classes) / 3, rel=1e-3)


def test_entropy_of_maps_averages_over_pixels():
    maps = draw(2, 5, 3, 4)
    pixels = [entropy(maps[:, :, y, x]) for y in range(3) for x in range(4)]
    torch.testing.assert_close(entropy(maps), torch.stack(pixels).mean())


def test_gradient_of_entropy():
    assert slopes(entropy, draw(3, 4))


def test_virtual_softmax_is_a_cross_entropy_with_a_logit_more():
    logits, weight, embedding = draw(4, 5), draw(5, 3, seed=1), draw(4, 3, seed=2)
    targets = torch.tensor([0, 4, 2, 2])
    expected = []
    for z, f, y in zip(logits.tolist(), embedding.tolist(), targets.tolist()):
        length = sum(w**2 for w in weight[y].tolist()) ** 0.5 * sum(x**2 for x in f) ** 0.5
        expected.append(-log(softmax([*z, length])[y]))
    actual = virtual_softmax(logits, weight, embedding, targets)
    assert actual.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10_000])
def test_virtual_softmax_at_extremes(dtype, classes):
    """A dead embedding and weights of zero have no infinite slope."""
    targets = torch.zeros(3, dtype=torch.int64)
    for scale in (0.0, 100.0):
        weight, embedding = scale * torch.ones(classes, 4), scale * torch.ones(3, 4)
        parts = (extreme(1, classes).to(dtype), weight, embedding.to(dtype))
        finite(lambda z, w, f: virtual_softmax(z, w, f, targets), *parts)


def test_gradient_of_virtual_softmax_reaches_weight_and_embedding():
    targets = torch.tensor([0, 3, 3])
    parts = (draw(3, 4), draw(4, 2, seed=1), draw(3, 2, seed=2))
    assert slopes(lambda z, w, f: virtual_softmax(z, w, f, targets), *parts)


@pytest.mark.parametrize("classes", [2, 5, 10_000])
def test_virtual_teacher(classes):
    teacher = virtual_teacher(torch.tensor([0, 1, 1]), classes, 0.9)
    assert (teacher.shape, teacher.dtype) == ((3, classes), torch.float32)
    torch.testing.assert_close(teacher.sum(1), torch.ones(3), rtol=1e-4, atol=0)
    others = 0.1 / (classes - 1)
    assert teacher[0, :2].tolist() == pytest.approx([0.9, others], rel=1e-5)
    assert teacher[1, :2].tolist() == pytest.approx([others, 0.9], rel=1e-5)


@pytest.mark.parametrize("rows, classes", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 20.0])
def test_virtual_kl(rows, classes, temperature):
    logits = draw(rows, classes, scale=3)
    teacher = virtual_teacher(classes_of(logits), classes, 0.99)
    expected = []
    for z, q in zip(logits.tolist(), teacher.tolist()):
        p, soft = softmax(z), softmax([value / temperature for value in q])
        expected.append(sum(b * log(b / a) for a, b in zip(p, soft)))
    actual = virtual_kl(logits, teacher, temperature)
    assert actual.tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10_000])
def test_virtual_kl_at_extremes(dtype, classes):
    teacher = virtual_teacher(torch.zeros(3, dtype=torch.int64), classes, 1.0)
    finite(lambda z: virtual_kl(z, teacher, 20.0), extreme(1, classes).to(dtype))


def test_virtual_kl_pulls_the_logits_alone():
    logits, teacher = draw(3, 4).requires_grad_(), virtual_teacher(torch.arange(3), 4, 0.9)
    virtual_kl(logits, teacher.requires_grad_(), 20.0).sum().backward()
    assert teacher.grad is None
    assert logits.grad is not None and logits.grad.any()
    assert slopes(lambda z: virtual_kl(z, teacher, 20.0), logits.detach())


@pytest.mark.parametrize("rows, classes", SHAPES)
def test_normalised(rows, classes):
    logits = draw(rows, classes, scale=30)
    length = [sum(z**2 for z in row) ** 0.5 for row in logits.tolist()]
    expected = [[z / n for z in row] for row, n in zip(logits.tolist(), length)]
    torch.testing.assert_close(normalised(logits), torch.tensor(expected))
    torch.testing.assert_close(normalised(100 * logits), normalised(logits))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10_000])
def test_normalised_at_extremes(dtype, classes):
    """Logits of ±1e4 have their length, and a row of zeros stays one, with a finite gradient."""
    rows = finite(normalised, extreme(1, classes).to(dtype))
    assert rows.norm(dim=1).tolist() == pytest.approx([1, 1, 0], rel=1e-4)


def test_gradient_of_normalised_is_orthogonal_to_the_row():
    logits = draw(3, 4).requires_grad_()
    (normalised(logits) * draw(3, 4, seed=1)).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close((logits.grad * logits).sum(1), torch.zeros(3), rtol=0, atol=1e-6)
    assert slopes(normalised, logits.detach())
