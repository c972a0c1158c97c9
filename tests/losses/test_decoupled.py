"""Losses that tell the label's class from all others, where it is easy and where it is not."""

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cohobate.losses import dkd, kl, nkd, wsld
from cohobate.losses.decoupled import split

LOSSES = {"dkd": dkd, "nkd": nkd, "wsld": wsld}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(row, temperature: float = 1.0) -> list[float]:
    scaled = [float(z) / temperature for z in row]
    top = max(scaled)
    powers = [exp(z - top) for z in scaled]
    norm = sum(powers)
    return [power / norm for power in powers]


def without(row, target: int) -> list[float]:
    return [float(z) for c, z in enumerate(row) if c != target]


def dkd_by_hand(student, teacher, target, alpha, beta, temperature) -> float:
    s, t = softmax(student, temperature), softmax(teacher, temperature)
    tckd = t[target] * log(t[target] / s[target])
    tckd += (1 - t[target]) * log((1 - t[target]) / (1 - s[target]))
    pairs = zip(
        softmax(without(student, target), temperature),
        softmax(without(teacher, target), temperature),
    )
    nckd = sum(b * log(b / a) for a, b in pairs)
    return temperature**2 * (alpha * tckd + beta * nckd)


def nkd_by_hand(student, teacher, target, gamma, temperature) -> float:
    own = -softmax(teacher)[target] * log(softmax(student)[target])
    pairs = zip(
        softmax(without(student, target), temperature),
        softmax(without(teacher, target), temperature),
    )
    return own - gamma * temperature**2 * sum(b * log(a) for a, b in pairs)


def wsld_by_hand(student, teacher, target, temperature) -> float:
    weight = 1 - exp(-log(softmax(student)[target]) / log(softmax(teacher)[target]))
    pairs = zip(softmax(student, temperature), softmax(teacher, temperature))
    return -weight * temperature**2 * sum(b * log(a) for a, b in pairs)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("rows, classes", [(1, 2), (1, 10_000), (7, 5), (16, 100)])
def test_values(rows, classes, temperature):
    student, teacher = draw(rows, classes, scale=2), draw(rows, classes, scale=2, seed=1)
    targets = torch.arange(rows) * 3 % classes
    given = {
        "dkd": (dkd, dkd_by_hand, {"alpha": 1.5, "beta": 8.0}),
        "nkd": (nkd, nkd_by_hand, {"gamma": 3.5}),
        "wsld": (wsld, wsld_by_hand, {}),
    }
    for loss, by_hand, weights in given.values():
        actual = loss(student, teacher, targets, temperature=temperature, **weights)
        assert (actual.shape, actual.dtype) == ((rows,), torch.float32)
        expected = [
            by_hand(s, t, y, *weights.values(), temperature)
            for s, t, y in zip(student.double(), teacher.double(), targets.tolist())
        ]
        np.testing.assert_allclose(actual.numpy(), expected, rtol=2e-4, atol=1e-5)


def test_split_is_the_odds_and_the_others():
    odds, others = split(draw(3, 4), torch.tensor([0, 2, 3]))
    for row, y, gap, rest in zip(draw(3, 4).tolist(), (0, 2, 3), odds.tolist(), others.tolist()):
        p = softmax(row)[y]
        assert gap == pytest.approx(log(p / (1 - p)), rel=1e-4)
        assert rest == pytest.approx(without(row, y))


def test_dkd_weighed_by_what_the_teacher_leaves_is_plain_kd():
    """KL(t || s) = TCKD + (1 - t_y) NCKD: equation 6 of the paper."""
    student, teacher, targets = draw(1, 6), draw(1, 6, seed=1), torch.tensor([4])
    left = 1 - softmax(teacher[0], 3.0)[4]
    actual = dkd(student, teacher, targets, alpha=1.0, beta=left, temperature=3.0)
    torch.testing.assert_close(actual.mean(), kl(student, teacher, 3.0))


def test_two_classes_leave_no_choice_among_the_others():
    student, teacher = draw(5, 2).requires_grad_(), draw(5, 2, seed=1)
    targets = torch.tensor([0, 1, 1, 0, 1])
    others = dkd(student, teacher, targets, alpha=0.0, beta=8.0)
    others.sum().backward()
    assert student.grad is not None
    assert not others.any() and not student.grad.any()
    torch.testing.assert_close(
        dkd(student, teacher, targets, temperature=2.0).mean(), kl(student, teacher, 2.0)
    )


def test_dkd_is_zero_at_equality_wherever_the_rows_stand():
    logits, targets = draw(8, 10, scale=5), torch.arange(8)
    assert not dkd(logits, logits.clone(), targets).any()
    torch.testing.assert_close(dkd(logits + 3, logits, targets), torch.zeros(8), rtol=0, atol=1e-4)


@pytest.mark.parametrize("ahead", [0.0, 1.0, -1.0, 5.0, -5.0])
@pytest.mark.parametrize("certainty", [20.0, 200.0, 1e4])
def test_weight_of_wsld_is_right_where_both_are_sure(certainty, ahead):
    """Of cross-entropies of about exp(-certainty), whose ratio is then exp(-ahead)."""
    teacher, student = torch.zeros(1, 5), torch.zeros(1, 5)
    teacher[0, 2], student[0, 2] = certainty, certainty + ahead
    weight = 1 - exp(-exp(-ahead))
    log_q = torch.log_softmax(student.double() / 4, 1)
    expected = -weight * 16 * (torch.softmax(teacher.double() / 4, 1) * log_q).sum().item()
    actual = wsld(student, teacher, torch.tensor([2])).item()
    assert actual == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows, classes", [(1, 2), (4, 10_000)])
@pytest.mark.parametrize("label", [0, 1])
def test_extreme_logits(loss, dtype, rows, classes, label):
    """±1e4, sure of the label's class or of another, alone or against one another."""
    targets = torch.full((rows,), label)
    sure, unsure = torch.full((rows, classes), -1e4), torch.full((rows, classes), -1e4)
    sure[:, 0] = unsure[:, 1] = 1e4
    for student, teacher in [(sure, unsure), (unsure, sure), (sure, sure), (0 * sure, sure)]:
        student = student.to(dtype).clone().requires_grad_()
        value = loss(student, teacher.to(dtype), targets)
        value.sum().backward()
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert student.grad is not None and student.grad.isfinite().all()


finite = st.floats(-1e4, 1e4, width=16)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(finite, min_size=6, max_size=6), st.sampled_from([1.0, 4.0]), st.integers(0, 2))
def test_dkd_is_never_negative(values, temperature, target):
    student, teacher = torch.tensor(values).view(2, 1, 3)
    value = dkd(student, teacher, torch.tensor([target]), temperature=temperature)
    assert value.isfinite().all()
    assert value.item() >= -1e-5 * temperature**2


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("loss", [dkd, nkd])
def test_gradients(loss, classes):
    """Against finite differences; the losses compute in float32, so the steps are large."""
    student, teacher = (draw(3, classes, seed=k).double() for k in range(2))
    targets = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher, targets),
        student.requires_grad_(),
        eps=1e-2,
        atol=5e-3,
        rtol=1e-2,
    )


def test_gradient_of_wsld_passes_the_weight_by():
    """d/ds = w T (softmax(s / T) - softmax(t / T)), with the weight as it is."""
    student, teacher, targets = draw(3, 5), draw(3, 5, seed=1), torch.tensor([0, 1, 1])
    wsld(student.requires_grad_(), teacher, targets, temperature=4.0).sum().backward()
    for s, t, y, slope in zip(student.tolist(), teacher.tolist(), targets.tolist(), student.grad):
        weight = 1 - exp(-log(softmax(s)[y]) / log(softmax(t)[y]))
        gaps = [a - b for a, b in zip(softmax(s, 4.0), softmax(t, 4.0))]
        np.testing.assert_allclose(slope, [4 * weight * gap for gap in gaps], rtol=1e-3, atol=1e-6)


def test_no_gradient_reaches_the_teacher(loss):
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    loss(student, teacher, torch.tensor([0, 1, 2, 3])).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad.any()


def test_maps_of_logits_average_over_pixels(loss):
    student, teacher = draw(2, 5, 3, 4), draw(2, 5, 3, 4, seed=1)
    targets = torch.arange(24).view(2, 3, 4) % 5
    pixels = [
        loss(student[:, :, y, x], teacher[:, :, y, x], targets[:, y, x])
        for y in range(3)
        for x in range(4)
    ]
    torch.testing.assert_close(loss(student, teacher, targets), torch.stack(pixels).mean(0))
