"""Contrast, transport, similarities of classes and chosen rows, where it is easy and where it is not."""

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from cohobate.losses import (
    chosen_kl,
    cosines,
    inter_class,
    inter_class_similarity,
    kl,
    least_wrong,
    nce,
    sinkhorn,
    transport,
    wasserstein_dual,
)

LOW = [torch.float32, torch.float16, torch.bfloat16]
EVERY, NONE = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4, dtype=torch.bool)
SOME = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()


def draw(*shape: int, scale: float = 1.0, seed: int = 0, dtype=torch.float32) -> Tensor:
    made = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return made.to(dtype)


@pytest.fixture
def in_double(monkeypatch) -> None:
    """Float32 is too coarse for finite differences."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def sure(rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits of ±1e4 that agree nowhere."""
    first, second = torch.full((rows, classes), -1e4), torch.full((rows, classes), -1e4)
    first[:, 0] = second[:, 1] = 1e4
    return first.to(dtype), second.to(dtype)


@pytest.mark.parametrize("apart", [EVERY, SOME, NONE], ids=["all", "some", "none"])
def test_nce(apart):
    """-log h of the partner, and -log(1 - h) of the K others, of which those apart stand for all."""
    positive, negative, partition = draw(3, scale=5), draw(3, 4, scale=5, seed=1), 0.7
    expected = 0.0
    for b in range(3):
        least = 4 * exp(partition)
        score = exp(positive[b].item())
        expected -= log(score / (score + least)) / 3
        kept = [exp(negative[b, k].item()) for k in range(4) if apart[b, k]]
        for score in kept:
            expected -= 4 / len(kept) * log(least / (score + least)) / 3
    actual = nce(positive, negative, apart, torch.tensor(partition))
    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_nce_is_least_where_partners_are_near_and_others_far():
    near, far = torch.full((3,), 14.0), torch.full((3, 4), -14.0)
    z = torch.tensor(0.8)
    assert nce(near, far, EVERY, z) < 1e-4
    assert nce(-near, -far, EVERY, z) > 50


@pytest.mark.parametrize("rows", [2, 5])
def test_wasserstein_dual(rows):
    critic = draw(rows, rows)
    every = [(b, c) for b in range(rows) for c in range(rows)]
    pairs = [critic[b, c].item() for b, c in every if b == c]
    others = [critic[b, c].item() for b, c in every if b != c]
    expected = sum(others) / len(others) - sum(pairs) / rows
    assert wasserstein_dual(critic).item() == pytest.approx(expected, rel=1e-4)


def test_wasserstein_dual_of_one_row_is_zero():
    critic = torch.ones(1, 1, requires_grad=True)
    wasserstein_dual(critic).backward()
    assert wasserstein_dual(critic) == 0 and critic.grad == 0


@pytest.mark.parametrize("loss", [wasserstein_dual, lambda rows: cosines(rows, rows[:2] + 1)])
def test_gradients_of_matrices(loss, in_double):
    assert gradcheck(loss, (draw(4, 4, dtype=torch.float64).requires_grad_(),))


def test_gradients_of_nce(in_double):
    z = torch.tensor(0.3, dtype=torch.float64)
    positive, negative = (draw(*s, dtype=torch.float64).requires_grad_() for s in ((3,), (3, 4)))
    assert gradcheck(lambda p, n: nce(p, n, SOME, z), (positive, negative))


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_scores(dtype, sign):
    positive = torch.full((1,), -1e4 * sign, dtype=dtype, requires_grad=True)
    negative = torch.full((1, 10_000), 1e4 * sign, dtype=dtype, requires_grad=True)
    value = nce(positive, negative, torch.ones(1, 10_000).bool(), torch.tensor(0.3))
    value.backward()
    assert value.dtype is torch.float32
    assert value.isfinite() and positive.grad.isfinite().all() and negative.grad.isfinite().all()
    critic = (1e4 * sign * torch.eye(4)).to(dtype).requires_grad_()
    wasserstein_dual(critic).backward()
    assert wasserstein_dual(critic).item() == pytest.approx(-1e4 * sign, rel=1e-2)
    assert critic.grad.isfinite().all()


def test_cosines():
    rows, columns = draw(3, 5), draw(4, 5, seed=1)
    expected = [
        [
            float(np.dot(a, b) / (np.dot(a, a) * np.dot(b, b)) ** 0.5)
            for b in columns.double().numpy()
        ]
        for a in rows.double().numpy()
    ]
    torch.testing.assert_close(cosines(rows, columns), torch.tensor(expected))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cosines(rows, columns), torch.tensor(expected))


@pytest.mark.parametrize("dtype", LOW)
def test_cosines_of_nothing_are_nothing(dtype):
    rows, columns = (torch.zeros(n, 4, dtype=dtype, requires_grad=True) for n in (1, 3))
    value = cosines(rows, columns)
    value.sum().backward()
    assert value.dtype is torch.float32
    assert not value.any() and rows.grad.isfinite().all() and columns.grad.isfinite().all()


def plan_by_hand(cost: np.ndarray, regularisation: float, iterations: int) -> np.ndarray:
    """Sinkhorn's own form: a kernel whose columns and rows are scaled in turn."""
    rows, columns = cost.shape
    kernel = np.exp(-cost / regularisation)
    left = np.ones(rows)
    for _ in range(iterations):
        right = [
            1 / columns / sum(kernel[i, j] * left[i] for i in range(rows)) for j in range(columns)
        ]
        left = [
            1 / rows / sum(kernel[i, j] * right[j] for j in range(columns)) for i in range(rows)
        ]
    return np.array(
        [[left[i] * kernel[i, j] * right[j] for j in range(columns)] for i in range(rows)]
    )


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (1, 1), (1, 4)])
def test_sinkhorn(shape):
    cost = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    plan = sinkhorn(cost, 0.1, 20)
    expected = plan_by_hand(cost.double().numpy(), 0.1, 20)
    torch.testing.assert_close(plan, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(plan.sum(1), torch.full(shape[:1], 1 / shape[0]))
    settled = sinkhorn(cost, 0.1, 500)
    torch.testing.assert_close(settled.sum(0), torch.full(shape[1:], 1 / shape[1]))


def test_sinkhorn_finds_the_permutation():
    order = torch.tensor([2, 0, 3, 1])
    plan = sinkhorn(1 - torch.eye(4)[order], 0.01, 50)
    torch.testing.assert_close(plan, torch.eye(4)[order] / 4)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("rows", [1, 6])
def test_transport(dtype, rows):
    """The plan is fixed: the gradient is that of the costs alone, and the teacher's has none."""
    student = draw(rows, 4, dtype=dtype).requires_grad_()
    teacher = draw(rows, 4, seed=1, dtype=dtype).requires_grad_()
    value = transport(student, teacher, 0.1, 20)
    cost = 1 - cosines(student, teacher.detach())
    plan = torch.from_numpy(plan_by_hand(cost.detach().double().numpy(), 0.1, 20)).float()
    assert value.dtype is torch.float32
    torch.testing.assert_close(value, (plan * cost).sum(), rtol=1e-4, atol=1e-6)
    value.backward()
    (expected,) = torch.autograd.grad((plan * cost).sum(), student)
    torch.testing.assert_close(student.grad, expected, rtol=1e-2, atol=1e-4)
    assert teacher.grad is None


def test_transport_is_blind_to_order_and_zero_between_equals():
    rows = torch.eye(5)
    assert transport(rows, rows[[3, 0, 4, 1, 2]], 0.01, 50).item() == pytest.approx(0, abs=1e-5)
    assert transport(rows, -rows, 0.01, 50).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_transport_of_extremes(dtype, scale):
    student = torch.full((3, 8), scale, dtype=dtype, requires_grad=True)
    value = transport(student, torch.zeros(3, 8, dtype=dtype), 1e-3, 10)
    value.backward()
    assert value.item() == pytest.approx(1, rel=1e-4)
    assert student.grad.isfinite().all()


def spread_by_hand(places: np.ndarray, temperature: float) -> np.ndarray:
    """(C, C) of logits (P, C) at P places: KL of the softmax over places of one class from another's."""
    log_p = []
    for logits in places.T / temperature:
        norm = logits.max() + log(sum(exp(z - logits.max()) for z in logits))
        log_p.append([z - norm for z in logits])
    return np.array([[sum(exp(a) * (a - b) for a, b in zip(p, q)) for q in log_p] for p in log_p])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(6, 5), (2, 5, 3, 4), (1, 2, 2, 2)])
def test_inter_class_similarity(shape, temperature):
    """Of (B, C) the images are the places; of (B, C, H, W) the pixels, and each map has its own."""
    student, teacher = draw(*shape, scale=3), draw(*shape, scale=3, seed=1)

    def by_hand(logits: Tensor) -> np.ndarray:
        value = logits.double().numpy()
        maps = [value] if value.ndim == 2 else [m.reshape(len(m), -1).T for m in value]
        return np.stack([spread_by_hand(places, temperature) for places in maps])

    first, second = by_hand(student), by_hand(teacher)
    torch.testing.assert_close(
        inter_class(student, temperature).double(), torch.from_numpy(first), rtol=1e-4, atol=1e-5
    )
    gaps = [(a - b) ** 2 for a, b in zip(first.ravel(), second.ravel())]
    actual = inter_class_similarity(student, teacher, temperature)
    assert actual.item() == pytest.approx(sum(gaps) / len(gaps), rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert inter_class_similarity(student, teacher, temperature) == actual


def test_inter_class_similarity_teaches_the_student_alone(in_double):
    student, teacher = (draw(4, 3, seed=s, dtype=torch.float64).requires_grad_() for s in (0, 1))
    assert gradcheck(lambda s: inter_class_similarity(s, teacher, 2.0), (student,))
    inter_class_similarity(student, teacher).backward()
    assert student.grad.any() and teacher.grad is None
    assert inter_class_similarity(student, student) == 0


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("rows, classes", [(1, 2), (4, 2), (2, 2_000)])
def test_inter_class_similarity_of_extremes(dtype, rows, classes):
    student, teacher = sure(rows, classes, dtype)
    student = student.clone()
    student[-1] *= -1
    student.requires_grad_()
    value = inter_class_similarity(student, teacher)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    assert (value == 0) == (rows == 1)


@pytest.mark.slow
def test_inter_class_similarity_of_ten_thousand_classes():
    student, teacher = sure(2, 10_000, torch.float32)
    student[1] *= -1
    student.requires_grad_()
    inter_class_similarity(student, teacher).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.75, 1.0])
def test_least_wrong(share):
    """Sorted by the place of the right class; all that are right, and a share of the others."""
    scores = draw(40, 6)
    right = torch.arange(40) % 6
    places = [sum(float(s) > float(row[y]) for s in row) for row, y in zip(scores, right.tolist())]
    order = sorted(range(40), key=lambda b: (places[b], b))
    wrong = sum(place > 0 for place in places)
    assert 0 < wrong < 40
    kept = set(order[: 40 - wrong + int(share * wrong)])
    assert least_wrong(scores, right, share).tolist() == [b in kept for b in range(40)]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_least_wrong_where_all_are_alike(share):
    assert least_wrong(torch.zeros(1, 3), torch.tensor([2]), share).all()  # a tie is not wrong
    assert least_wrong(torch.eye(3), torch.tensor([1, 2, 0]), share).all() == bool(share)


def test_chosen_kl():
    student, teacher = draw(6, 5, scale=3), draw(6, 5, scale=3, seed=1)
    chosen = torch.tensor([1, 0, 0, 1, 1, 0]).bool()
    expected = kl(student[chosen], teacher[chosen], 2.0)
    torch.testing.assert_close(chosen_kl(student, teacher, chosen, 2.0), expected)
    assert chosen_kl(student, teacher, ~chosen & chosen) == 0


def test_chosen_kl_teaches_the_student_alone(in_double):
    student, teacher = (draw(4, 3, seed=s, dtype=torch.float64).requires_grad_() for s in (0, 1))
    chosen = torch.tensor([1, 0, 1, 1]).bool()
    assert gradcheck(lambda s: chosen_kl(s, teacher, chosen, 0.5), (student,))
    chosen_kl(student, teacher, chosen).backward()
    assert not student.grad[1].any() and student.grad[0].any() and teacher.grad is None


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("rows, classes", [(1, 2), (4, 10_000)])
def test_chosen_kl_of_extremes(dtype, rows, classes):
    student, teacher = sure(rows, classes, dtype)
    student.requires_grad_()
    value = chosen_kl(student, teacher, torch.ones(rows, dtype=torch.bool))
    value.backward()
    assert value.dtype is torch.float32
    assert value.item() == pytest.approx(2e4, rel=1e-2)
    assert student.grad.isfinite().all()
