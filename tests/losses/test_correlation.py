"""Losses on how predictions are related, where it is easy and where it is not."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import pearsonr

from cohobate.losses import between_classes, between_images, pearson

LEVELS = {"images": between_images, "classes": between_classes}


@pytest.fixture(params=LEVELS)
def level(request):
    return LEVELS[request.param]


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(student: torch.Tensor, teacher: torch.Tensor, temperature: float, axis: int) -> float:
    """The squared difference of all inner products of rows (0) or of columns (1), over their number."""
    p_s, p_t = (softmax(z.double().numpy() / temperature, 1) for z in (student, teacher))
    if axis == 1:
        p_s, p_t = p_s.T, p_t.T
    gaps = [(a @ b - c @ d) ** 2 for a, c in zip(p_s, p_t) for b, d in zip(p_s, p_t)]
    return sum(gaps) / len(p_s)


@pytest.mark.parametrize("rows, classes", [(2, 5), (8, 2), (16, 100)])
@pytest.mark.parametrize("dim", [0, 1])
def test_pearson_is_that_of_scipy(rows, classes, dim):
    student, teacher = draw(rows, classes).softmax(1), draw(rows, classes, seed=1).softmax(1)
    pairs = zip(student.double().movedim(dim, 1), teacher.double().movedim(dim, 1))
    expected = np.mean([1 - pearsonr(a.numpy(), b.numpy()).statistic for a, b in pairs])
    actual = pearson(student, teacher, dim)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(expected, rel=1e-4)


def test_pearson_sees_neither_scale_nor_shift():
    values = draw(4, 6)
    assert pearson(3 * values + 5, values).item() == pytest.approx(0, abs=1e-5)
    assert pearson(-values, values).item() == pytest.approx(2, rel=1e-5)
    assert pearson(1e-20 * values, 1e-12 * values).item() == pytest.approx(0, abs=1e-5)


def test_what_does_not_vary_has_nothing_to_teach():
    """The classes of a batch of one, a teacher that says the same of all, a class that never comes."""
    one = draw(1, 5).softmax(1).requires_grad_()
    same = torch.full((6, 10), 0.1)  # whose mean is off by a rounding
    for student, teacher, dim, expected in [
        (one, draw(1, 5, seed=1).softmax(1), 0, 0.0),
        (draw(6, 10).requires_grad_(), same, 1, 0.0),
        (same.clone().requires_grad_(), same, 1, 0.0),
        (same.clone().requires_grad_(), draw(6, 10).softmax(1), 1, 1.0),
        (torch.zeros(6, 10, requires_grad=True), torch.zeros(6, 10), 0, 0.0),
    ]:
        value = pearson(student, teacher, dim)
        value.backward()
        assert value.item() == expected
        assert student.grad is not None
        assert not student.grad.any()


@pytest.mark.parametrize("axis, level", enumerate(LEVELS.values()))
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("rows, classes", [(1, 2), (1, 7), (9, 2), (6, 5), (16, 40)])
def test_levels(rows, classes, temperature, axis, level):
    student, teacher = draw(rows, classes, scale=3), draw(rows, classes, scale=3, seed=1)
    actual = level(student, teacher, temperature)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    expected = by_hand(student, teacher, temperature, axis)
    assert actual.item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("axis, level", enumerate(LEVELS.values()))
def test_levels_keep_their_digits_where_both_are_close(axis, level):
    student = draw(8, 20, scale=3)
    teacher = student + draw(8, 20, scale=1e-3, seed=1)
    expected = by_hand(student, teacher, 1.0, axis)
    assert level(student, teacher).item() == pytest.approx(expected, rel=1e-2)
    assert level(student, student).item() == 0


@pytest.mark.parametrize("axis, level", enumerate(LEVELS.values()))
def test_levels_are_float32_under_autocast(axis, level):
    student, teacher = draw(8, 20, scale=3), draw(8, 20, scale=3, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        value = level(student, teacher)
    assert value.item() == pytest.approx(by_hand(student, teacher, 1.0, axis), rel=1e-5)


def losses(student: torch.Tensor, teacher: torch.Tensor) -> list[torch.Tensor]:
    p_s, p_t = student.float().softmax(1), teacher.float().softmax(1)
    levels = [level(student, teacher) for level in LEVELS.values()]
    return [pearson(p_s, p_t, 0), pearson(p_s, p_t, 1), *levels]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows, classes", [(1, 2), (1, 10_000), (4, 2), (4, 10_000)])
def test_extreme_logits(dtype, rows, classes):
    sure, unsure = torch.full((rows, classes), -1e4), torch.full((rows, classes), -1e4)
    sure[:, 0] = unsure[:, 1] = 1e4
    for student, teacher in [(sure, unsure), (sure, sure), (0 * sure, sure), (sure, 0 * sure)]:
        student = student.to(dtype).clone().requires_grad_()
        for value in losses(student, teacher.to(dtype)):
            (slope,) = torch.autograd.grad(value, student, retain_graph=True)
            assert value.isfinite()
            assert slope.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 30.0, 80.0, 1e3])
def test_gradients_stay_finite_as_predictions_become_sure(scale):
    """Probabilities from 1 to those that round to zero."""
    student = draw(8, 12, scale=scale).requires_grad_()
    for value in losses(student, draw(8, 12, scale=scale, seed=1)):
        (slope,) = torch.autograd.grad(value, student, retain_graph=True)
        assert value.isfinite()
        assert slope.isfinite().all()


@pytest.mark.parametrize("which", range(4))
def test_gradients(which):
    """Against finite differences; the losses compute in float32, so the steps are large."""
    student, teacher = (draw(4, 3, seed=k).double() for k in range(2))
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: losses(s, teacher)[which], student, eps=1e-2, atol=2e-3, rtol=1e-2
    )


def test_no_gradient_reaches_the_teacher():
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    for value in losses(student, teacher):
        student.grad = None
        value.backward(retain_graph=True)
        assert student.grad is not None
        assert teacher.grad is None
