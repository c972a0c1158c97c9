"""The Kullback-Leibler divergence of logits, where it is easy and where it is not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from cohobate.losses import kl, standardised, total


def reference(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    """T² mean_b KL(p_t || p_s) of (B, C), in float64."""
    s, t = (v.double().numpy() / temperature for v in (student, teacher))
    p, gap = softmax(t, axis=1), log_softmax(t, axis=1) - log_softmax(s, axis=1)
    return temperature**2 * float((p * gap).sum(1).mean())


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("rows, classes", [(1, 2), (1, 10_000), (7, 5), (64, 100)])
def test_value(rows, classes, temperature):
    student, teacher = draw(rows, classes, scale=3), draw(rows, classes, scale=3, seed=1)
    actual = kl(student, teacher, temperature)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(reference(student, teacher, temperature), rel=1e-4)


def test_is_scipys_relative_entropy_of_teacher_and_student():
    student, teacher = draw(1, 6), draw(1, 6, seed=1)
    expected = entropy(softmax(teacher.numpy()[0]), softmax(student.numpy()[0]))
    assert kl(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert kl(teacher, student).item() != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_zero_at_equality_and_where_only_a_constant_differs(temperature):
    logits = draw(8, 10, scale=5)
    assert kl(logits, logits.clone(), temperature).item() == 0
    assert kl(logits + 3, logits, temperature).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows, classes", [(1, 2), (4, 10_000)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_extreme_logits(dtype, rows, classes, temperature):
    """±1e4: a certain teacher that disagrees costs the gap, and one that agrees nothing."""
    sure, unsure = torch.full((rows, classes), -1e4), torch.full((rows, classes), -1e4)
    sure[:, 0] = unsure[:, 1] = 1e4
    gap = reference(sure.to(dtype), unsure.to(dtype), temperature)
    for student, teacher, expected in [(sure, unsure, gap), (sure, sure, 0.0)]:
        student = student.to(dtype).requires_grad_()
        value = kl(student, teacher.to(dtype), temperature)
        value.backward()
        assert value.item() == pytest.approx(expected, rel=1e-3)
        assert student.grad.isfinite().all()


finite = st.floats(-1e4, 1e4, width=16)
sizes = st.tuples(st.integers(1, 5), st.integers(2, 8))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Two arrays of logits of one shape and one floating type."""
    rows, classes = draw(sizes)
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    values = st.lists(finite, min_size=rows * classes, max_size=rows * classes)
    student, teacher = (torch.tensor(draw(values), dtype=dtype) for _ in range(2))
    return student.view(rows, classes), teacher.view(rows, classes)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(pairs(), st.sampled_from([1.0, 3.0, 20.0]))
def test_finite_not_negative_and_right_for_any_logits(logits, temperature):
    student, teacher = logits
    value = kl(student, teacher, temperature)
    expected = reference(student, teacher, temperature)
    assert value.dtype == torch.float32
    # float32 rounds logits of 1e4 to 1e-3, and T² multiplies what remains of it
    assert value.item() >= -1e-6 * temperature**2
    np.testing.assert_allclose(value.item(), expected, rtol=1e-4, atol=2e-3 * temperature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_not_negative_under_autocast(dtype):
    """A divergence of bf16 logits once came out negative on a CPU."""
    student, teacher = draw(32, 1000), draw(32, 1000)
    teacher = teacher + draw(32, 1000, scale=1e-3, seed=1)
    with torch.autocast("cpu", dtype):
        value = kl(student.to(dtype), teacher.to(dtype))
    assert value.dtype == torch.float32
    expected = reference(student.to(dtype), teacher.to(dtype), 1.0)
    assert value.item() == pytest.approx(expected, rel=1e-2, abs=1e-6)


def test_no_gradient_reaches_the_teacher():
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    kl(student, teacher, 2.0).backward()
    assert teacher.grad is None
    assert student.grad.any()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradient_of_the_student(temperature):
    """d KL_T / ds = T (p_s - p_t) / B, which finite differences of the formula confirm."""
    student, teacher = draw(3, 4).requires_grad_(), draw(3, 4, seed=1)
    kl(student, teacher, temperature).backward()
    p_s, p_t = (softmax(v.detach().double() / temperature, axis=1) for v in (student, teacher))
    np.testing.assert_allclose(student.grad, temperature * (p_s - p_t) / 3, rtol=1e-4, atol=1e-6)
    there = student.detach().double()
    for place in np.ndindex(3, 4):
        step = torch.zeros_like(there)
        step[place] = 1e-5
        up, down = (reference(there + sign * step, teacher, temperature) for sign in (1, -1))
        assert student.grad[place].item() == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-6)


def test_maps_of_logits_average_over_pixels():
    student, teacher = draw(2, 5, 3, 4), draw(2, 5, 3, 4, seed=1)
    pixels = [kl(student[:, :, y, x], teacher[:, :, y, x], 2.0) for y in range(3) for x in range(4)]
    torch.testing.assert_close(kl(student, teacher, 2.0), torch.stack(pixels).mean())


def test_total_is_the_sum_of_scalars():
    terms = [torch.tensor(float(k), requires_grad=True) for k in range(4)]
    result = total(2 * term for term in terms)
    assert (result.item(), result.shape) == (12.0, ())
    result.backward()
    assert [term.grad.item() for term in terms] == [2.0] * 4


@pytest.mark.parametrize("rows, classes", [(1, 2), (7, 5), (3, 1000)])
def test_standardised_rows_have_unit_deviation(rows, classes):
    logits = draw(rows, classes, scale=30)
    actual = standardised(logits.bfloat16().float()).double().numpy()
    plain = logits.bfloat16().double().numpy()
    np.testing.assert_allclose(actual, plain / plain.std(1, ddof=1, keepdims=True), rtol=1e-4)


def test_standardised_does_not_see_the_scale_but_keeps_the_mean():
    logits = draw(4, 6)
    torch.testing.assert_close(standardised(100 * logits), standardised(logits))
    shift = standardised(logits + 5) - standardised(logits)
    torch.testing.assert_close(shift, (5 / logits.std(1, keepdim=True)).expand(4, 6))


def test_standardised_equal_logits_are_finite_with_a_finite_gradient():
    logits = torch.full((2, 5), 3.0, requires_grad=True)
    standardised(logits).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
