"""Losses that join the maps of two networks, against their formulas in float64 loops."""

from collections.abc import Callable
from itertools import product
from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from cohobate.losses import (
    boundary,
    factor_transfer,
    flow,
    hierarchical_context,
    hint,
    map_errors,
    partial_l2,
)

SHAPE = (3, 4, 5, 6)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flow_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """What FSP makes of flows: of a map with itself, seen upside down."""
    return hint(flow(student, student.flip(2)), flow(teacher, teacher.flip(2)).detach())


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "partial_l2": lambda s, t: partial_l2(s, t, torch.full((s.shape[1], 1, 1), -0.4)),
    "boundary": boundary,
    "flow": flow_distance,
    "hierarchical_context": hierarchical_context,
    "factor_transfer": factor_transfer,
    "factor_transfer_pooled": lambda s, t: factor_transfer(s, t, pooled=True),
    "map_errors": lambda s, t: map_errors(s, t).mean(),
}


@pytest.fixture(params=LOSSES)
def loss(request) -> Callable[[Tensor, Tensor], Tensor]:
    return LOSSES[request.param]


def places(maps: np.ndarray):
    return product(*(range(size) for size in maps.shape))


def test_partial_l2_value():
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    margins = [-0.1, -0.5, -1.0, -2.0]
    s, t = student.double().numpy(), teacher.double().numpy()
    expected = 0.0
    for b, c, y, x in places(s):
        target = max(t[b, c, y, x], margins[c])
        if target > 0 or s[b, c, y, x] > target:
            expected += (s[b, c, y, x] - target) ** 2 / SHAPE[0]
    actual = partial_l2(student, teacher, torch.tensor(margins)[:, None, None])
    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_partial_l2_asks_no_more_of_what_the_relu_cuts_off():
    """Below a negative target all is well; above it, the margin is what the student is drawn to."""
    margin = torch.tensor([[[-0.5]]])
    one = torch.ones(1, 1, 1, 1)
    assert partial_l2(-2 * one, -one, margin).item() == 0
    assert partial_l2(0 * one, -one, margin).item() == pytest.approx(0.25)
    assert partial_l2(-2 * one, one, margin).item() == pytest.approx(9.0)


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_boundary_value(margin):
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    teacher[0, 0, 0, 0] = 0.0  # does not fire
    s, t = student.double().numpy(), teacher.double().numpy()
    expected = 0.0
    for place in places(s):
        if t[place] > 0 and s[place] <= margin:
            expected += (s[place] - margin) ** 2 / SHAPE[0]
        elif t[place] <= 0 and s[place] > -margin:
            expected += (s[place] + margin) ** 2 / SHAPE[0]
    assert boundary(student, teacher, margin).item() == pytest.approx(expected, rel=1e-5)


def test_flow_value():
    first, second = draw(2, 3, 4, 5), draw(2, 6, 4, 5, seed=1)
    expected = np.zeros((2, 3, 6))
    for b, c, d, y, x in product(range(2), range(3), range(6), range(4), range(5)):
        expected[b, c, d] += first[b, c, y, x].item() * second[b, d, y, x].item() / 20
    np.testing.assert_allclose(flow(first, second).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_flow_stays_exact_under_autocast():
    first, second = draw(2, 3, 4, 5), draw(2, 6, 4, 5, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        actual = flow(first, second)
    torch.testing.assert_close(actual, flow(first, second), rtol=0, atol=0)


def parts_of(image: np.ndarray, count: int) -> np.ndarray:
    """The means over count × count parts of a square map, which that divides."""
    side = len(image) // count
    return np.array(
        [
            [
                image[side * y : side * (y + 1), side * x : side * (x + 1)].sum() / side**2
                for x in range(count)
            ]
            for y in range(count)
        ]
    )


@pytest.mark.parametrize("side, counts", [(8, (4, 2, 1)), (4, (2, 1)), (2, (1,)), (1, ())])
def test_hierarchical_context_value(side, counts):
    student, teacher = draw(2, 3, side, side), draw(2, 3, side, side, seed=1)
    gap = (student - teacher).double().numpy()
    terms = [(1.0, (gap**2).sum() / gap.size)]
    for count in counts:
        squares = [(parts_of(channel, count) ** 2).sum() for row in gap for channel in row]
        terms.append((terms[-1][0] / 2, sum(squares) / (6 * count**2)))
    expected = sum(w * v for w, v in terms) / sum(w for w, _ in terms)
    assert hierarchical_context(student, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pooled", [False, True])
def test_factor_transfer_value(pooled):
    def unit(maps: Tensor) -> list[list[float]]:
        rows = []
        for row in maps.double().numpy():
            numbers = [float(v) for v in row.flatten()]
            if pooled:
                numbers = [sum(c[y, x] ** 2 for c in row) / 4 for y in range(5) for x in range(6)]
            norm = sqrt(sum(v * v for v in numbers))
            rows.append([v / norm for v in numbers])
        return rows

    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    gaps = [
        abs(a - b) for one, other in zip(unit(student), unit(teacher)) for a, b in zip(one, other)
    ]
    actual = factor_transfer(student, teacher, pooled=pooled)
    assert actual.item() == pytest.approx(sum(gaps) / len(gaps), rel=1e-5)
    torch.testing.assert_close(factor_transfer(7 * student, teacher, pooled=pooled), actual)


def test_map_errors_value():
    student, teacher = draw(*SHAPE), draw(*SHAPE, seed=1)
    gap = (student - teacher).double().numpy()
    expected = [sum(float(v) ** 2 for v in row.flatten()) / row.size for row in gap]
    np.testing.assert_allclose(map_errors(student, teacher).numpy(), expected, rtol=1e-5)


def test_gradient_is_that_of_finite_differences(loss):
    """In float64 in and out, though the losses compute in float32: hence the large step."""
    student = draw(2, 2, 3, 3).double().requires_grad_()
    teacher = draw(2, 2, 3, 3, seed=1).double()
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher).double(), student, eps=1e-3, atol=1e-3, rtol=5e-3
    )


def test_no_gradient_reaches_the_teacher(loss):
    student, teacher = draw(*SHAPE).requires_grad_(), draw(*SHAPE, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "student, teacher",
    [(0.0, 0.0), (0.0, 1e4), (1e4, -1e4), (-1e4, 1e4), (1.0, 1.0)],
    ids=["zeros", "dead", "over", "under", "equal"],
)
def test_extremes_are_finite(loss, dtype, rows, student, teacher):
    maps = torch.full((rows, 4, 8, 8), student, dtype=dtype, requires_grad=True)
    value = loss(maps, torch.full((rows, 4, 8, 8), teacher, dtype=dtype))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    if value < 1e10:  # where float16 can hold the gradient at all
        assert maps.grad is not None
        assert maps.grad.isfinite().all()
