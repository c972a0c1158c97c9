"""Losses on the relations within a batch: their values, their gradients, and where these are hard."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine, pdist, squareform
from scipy.special import rel_entr

from cohobate.losses import (
    correlation_congruence,
    probabilistic_transfer,
    relational_angles,
    relational_distances,
    similarity_preserving,
)

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ONE_SIDED: list[Loss] = [
    similarity_preserving,
    relational_distances,
    relational_angles,
    probabilistic_transfer,
]
LOSSES: list[Loss] = [*ONE_SIDED, correlation_congruence]


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(gap: float) -> float:
    """The smooth L1 loss of a difference."""
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def by_hand(loss: Loss, student: torch.Tensor, teacher: torch.Tensor) -> float:
    """The formula of a loss, in float64."""
    s, t = (v.double().flatten(1).numpy() for v in (student, teacher))
    rows = range(len(s))
    if loss is similarity_preserving:
        left, right = (np.array([v @ a / np.linalg.norm(v @ a) for a in v]) for v in (s, t))
        return float(np.square(left - right).sum() / len(s) ** 2)
    if loss is correlation_congruence:
        return float(np.mean([abs(s[b] - t[b]) @ abs(s[b + 1] - t[b + 1]) for b in rows[:-1]]))
    if loss is relational_distances:
        left, right = (squareform(pdist(v) / pdist(v).mean()) for v in (s, t))
        return float(np.mean([smooth(gap) for gap in (left - right).flat]))
    if loss is relational_angles:
        left, right = ([angle(v, *corner) for corner in product(rows, repeat=3)] for v in (s, t))
        return float(np.mean([smooth(a - b) for a, b in zip(left, right)]))
    affinity = [np.array([[1 - cosine(a, b) / 2 for b in v] for a in v]) for v in (s, t)]
    q, p = (v / v.sum(1, keepdims=True) for v in affinity)
    return float(rel_entr(p, q).mean())


def angle(points: np.ndarray, i: int, j: int, k: int) -> float:
    """The cosine at the corner i of the triangle i, j, k; 0 where there is no triangle."""
    a, b = points[j] - points[i], points[k] - points[i]
    return 0.0 if i in (j, k) else float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rows, width, other", [(2, 2, 2), (2, 3, 3), (7, 5, 5), (5, 4, 9)])
def test_value(loss, rows, width, other):
    if loss is correlation_congruence:
        other = width
    student, teacher = draw(rows, width, scale=3), draw(rows, other, seed=1)
    actual = loss(student, teacher)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(by_hand(loss, student, teacher), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shape, other", [((4, 3, 2, 2), (4, 5, 3, 3)), ((3, 2, 5), (3, 7))])
def test_similarities_of_maps_of_any_shape(shape, other):
    student, teacher = draw(*shape), draw(*other, seed=1)
    expected = by_hand(similarity_preserving, student, teacher)
    assert similarity_preserving(student, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_at_equality(loss):
    embedding = draw(6, 4, scale=5)
    assert loss(embedding, embedding.clone()).item() == 0


@pytest.mark.parametrize("loss", ONE_SIDED)
def test_what_changes_no_relation_costs_nothing(loss):
    """The size and a turn of the space, and for distances and angles a shift of it."""
    teacher = draw(6, 4)
    turn = torch.linalg.qr(draw(4, 4, seed=2)).Q
    shift = 3.0 if loss in (relational_distances, relational_angles) else 0.0
    student = (7 * teacher @ turn + shift).requires_grad_()
    assert loss(student, teacher).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
@pytest.mark.parametrize("loss", ONE_SIDED)
def test_scale_is_no_matter(loss, scale):
    student, teacher = draw(6, 4), draw(6, 4, seed=1)
    torch.testing.assert_close(loss(scale * student, teacher), loss(student, teacher))


@pytest.mark.parametrize("loss", LOSSES)
def test_one_image_has_no_relations(loss):
    student, teacher = draw(1, 4).requires_grad_(), draw(1, 4, seed=1)
    value = loss(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-7)
    assert student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("loss", ONE_SIDED)
def test_pulls_the_student_alone(loss):
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad.any()


def test_correlation_congruence_pulls_both_sides():
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    correlation_congruence(student, teacher).backward()
    assert student.grad is not None and student.grad.any()
    torch.testing.assert_close(teacher.grad, -student.grad)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient(loss, monkeypatch):
    """By finite differences, in float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    teacher = draw(4, 3, seed=1).double()
    for rows in (2, 4):
        student = draw(rows, 3).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda s, t=teacher[:rows]: loss(s, t), student)


def degenerate() -> dict[str, torch.Tensor]:
    """Embeddings without figure, or with a part of it."""
    one, some = draw(6, 4), draw(6, 4, seed=3)
    some[1] = some[4] = 0.0
    some[2] = some[5]
    opposite = one.clone()
    opposite[1::2] = -opposite[::2]
    return {
        "zeros": torch.zeros(6, 4),
        "equal": one[:1].expand(6, -1).clone(),
        "some zeros and twins": some,
        "opposites": opposite,
        "tiny": 1e-30 * one,
        "almost equal": 100 + 1e-5 * one,
        "one image of zeros": torch.zeros(1, 4),
    }


@pytest.mark.parametrize("name", degenerate())
@pytest.mark.parametrize("loss", LOSSES)
def test_finite_where_there_is_no_figure(loss, name):
    student, other = degenerate()[name], draw(6, 4, seed=9)
    other = other[: len(student)]
    for ours, theirs in [(student, other), (other, student), (student, student.clone())]:
        ours = ours.clone().requires_grad_()
        value = loss(ours, theirs)
        value.backward()
        assert value.isfinite()
        assert ours.grad is not None and ours.grad.isfinite().all()


@pytest.mark.parametrize("loss", ONE_SIDED)
def test_embeddings_of_zeros_are_not_thrown_about(loss):
    """The gradient of a direction has no bound near zero; at zero there is none."""
    student = torch.zeros(6, 4, requires_grad=True)
    loss(student, draw(6, 4)).backward()
    assert student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("loss", LOSSES)
def test_computes_in_float32(loss, dtype, scale):
    student, teacher = draw(6, 64, scale=scale), draw(6, 64, scale=scale, seed=1)
    student, teacher = student.clamp(-1e4, 1e4).to(dtype), teacher.clamp(-1e4, 1e4).to(dtype)
    student.requires_grad_()
    with torch.autocast("cpu", dtype):
        value = loss(student, teacher)
    value.backward()
    expected = by_hand(loss, student.detach().float(), teacher.float())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert student.grad is not None and student.grad.isfinite().all()


@pytest.mark.parametrize("rows, width", [(2, 10_000), (64, 2)])
@pytest.mark.parametrize("loss", LOSSES)
def test_any_width_and_batch(loss, rows, width):
    student = draw(rows, width, scale=1e4).requires_grad_()
    value = loss(student, draw(rows, width, scale=1e4, seed=1))
    value.backward()
    assert value.isfinite() and value >= -1e-6
    assert student.grad is not None and student.grad.isfinite().all()
