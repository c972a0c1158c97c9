"""Losses between predictions of one network, where they are easy and where they are not."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, softmax
from torch.autograd import gradcheck

from cohobate.losses import (
    jensen_shannon,
    kl,
    mean_discrepancy,
    non_target,
    probability_error,
    propagated,
    smoothed_target,
    soft_kl,
    squared_chord,
    zipf,
)

HALF = [torch.float16, torch.bfloat16]


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return draw(*shape, seed=seed).double().requires_grad_()


@pytest.fixture
def in_double(monkeypatch):
    """Losses compute in float32, too coarse for finite differences: here `float()` changes nothing."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)


def sure(rows: int, classes: int, dtype: torch.dtype, of: int) -> torch.Tensor:
    """Logits of ±1e4 that are sure of one class."""
    logits = torch.full((rows, classes), -1e4)
    logits[:, of] = 1e4
    return logits.to(dtype).requires_grad_()


@pytest.mark.parametrize("rows, classes", [(1, 2), (3, 5), (2, 10_000)])
def test_jensen_shannon_of_two_is_scipys(rows, classes):
    first, second = draw(rows, classes, scale=3), draw(rows, classes, scale=3, seed=1)
    p, q = (softmax(z.double().numpy(), 1) for z in (first, second))
    expected = np.mean([jensenshannon(a, b) ** 2 for a, b in zip(p, q)])
    actual = jensen_shannon(first, second)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(expected, rel=1e-4)


def test_jensen_shannon_of_three_is_the_mean_divergence_from_the_mean():
    logits = [draw(4, 5, scale=2, seed=seed) for seed in range(3)]
    p = np.stack([softmax(z.double().numpy(), 1) for z in logits])
    expected = (p * np.log(p / p.mean(0))).sum(2).mean()
    assert jensen_shannon(*logits).item() == pytest.approx(expected, rel=1e-5)
    assert jensen_shannon(*logits[::-1]).item() == pytest.approx(expected, rel=1e-5)
    maps = [torch.stack([z, z], 2) for z in logits]
    assert jensen_shannon(*maps).item() == pytest.approx(expected, rel=1e-5)


def test_jensen_shannon_is_bounded():
    logits = [sure(2, 4, torch.float32, of) for of in range(3)]
    assert jensen_shannon(*logits).item() == pytest.approx(np.log(3), rel=1e-5)
    assert jensen_shannon(logits[0], logits[0], logits[0]).item() == pytest.approx(0, abs=1e-6)


def test_jensen_shannon_has_its_gradient_on_every_side(in_double):
    assert gradcheck(jensen_shannon, [double(3, 4, seed=seed) for seed in range(3)])


def test_probability_error_is_a_mean_over_the_classes_too():
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    p, q = (softmax(z.double().numpy(), 1) for z in (student, teacher))
    expected = ((p - q) ** 2).sum() / 12
    assert probability_error(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_soft_kl_is_kl_where_the_target_was_softened():
    student, teacher = draw(3, 4, scale=3), draw(3, 4, scale=3, seed=1)
    for temperature in (1.0, 4.0):
        target = (teacher / temperature).softmax(1)
        torch.testing.assert_close(
            soft_kl(student, target, temperature), kl(student, teacher, temperature)
        )
    certain = torch.eye(4)[:3]
    expected = -log_softmax(student.double().numpy(), 1).diagonal().mean()
    assert soft_kl(student, certain).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [probability_error, soft_kl])
def test_no_gradient_reaches_the_target(loss, in_double):
    student, teacher = double(3, 4), double(3, 4, seed=1)
    loss(student, teacher.softmax(1)).backward()
    assert teacher.grad is None
    fixed = teacher.detach().softmax(1)
    assert gradcheck(lambda z: loss(z, fixed), student)


def by_steps(features, logits, share: float, temperature: float, steps: int = 200) -> np.ndarray:
    """What the propagation of predictions from image to image tends to, step by step."""
    f = features.double().numpy()
    count = len(f)
    affinity = np.zeros((count, count))
    for a in range(count):
        for b in range(count):
            if a != b:
                cosine = f[a] @ f[b] / np.sqrt((f[a] @ f[a]) * (f[b] @ f[b]))
                affinity[a, b] = np.exp(cosine)
        affinity[a] /= affinity[a].sum()
    own = softmax(logits.double().numpy() / temperature, axis=1)
    target = own
    for _ in range(steps):
        target = share * affinity @ target + (1 - share) * own
    return target


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_propagated_is_the_limit_of_its_steps(share):
    features, logits = draw(6, 8), draw(6, 5, scale=4, seed=1)
    actual = propagated(features.requires_grad_(), logits.requires_grad_(), share, 4.0)
    assert (actual.dtype, actual.requires_grad) == (torch.float32, False)
    expected = by_steps(features.detach(), logits.detach(), share, 4.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(actual.sum(1), 1, rtol=1e-5)


def test_propagated_is_nearer_to_uniform_than_its_parts_but_not_uniform():
    """Softened a second time, as in Self-KD-Lib, a target would be nearly uniform."""
    logits = draw(16, 100, scale=8, seed=1)
    target = propagated(draw(16, 8), logits, 0.5, 4.0)
    entropies = [-(p * p.log()).sum(1).mean() for p in (target, (target / 4).softmax(1))]
    own = (logits / 4).softmax(1)
    assert -(own * own.log()).sum(1).mean() < entropies[0] < entropies[1] - 0.1


@pytest.mark.parametrize("dtype", HALF)
def test_propagated_where_little_is_to_be_seen(dtype):
    single = propagated(draw(1, 4).to(dtype), draw(1, 3).to(dtype), 0.5)
    torch.testing.assert_close(single, draw(1, 3).to(dtype).float().softmax(1))
    nothing = propagated(torch.zeros(3, 4, dtype=dtype), sure(3, 10_000, dtype, 1), 0.9)
    assert nothing.isfinite().all()
    alike = propagated(torch.full((3, 4), 6e4, dtype=dtype), sure(3, 2, dtype, 0), 0.9)
    torch.testing.assert_close(alike, torch.tensor([[1.0, 0.0]]).expand(3, 2))


@pytest.mark.parametrize("autocast", [False, True])
def test_propagated_is_exact_on_a_large_batch(autocast):
    """512 images that are much alike: whatever the precision of the run."""
    features, logits = 1 + draw(512, 64), draw(512, 10, scale=5, seed=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        actual = propagated(features, logits, 0.9, 4.0).double()
    f = torch.nn.functional.normalize(features.double())
    affinity = (f @ f.T).fill_diagonal_(-torch.inf).softmax(1)
    own = (logits.double() / 4).softmax(1)
    expected = 0.1 * torch.linalg.inv(torch.eye(512) - 0.9 * affinity) @ own
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_mean_discrepancy_is_a_distance_of_vectors():
    first, second = draw(4, 3), draw(6, 3, seed=1)
    gap = [
        sum(row[k] for row in first.tolist()) / 4 - sum(row[k] for row in second.tolist()) / 6
        for k in range(3)
    ]
    expected = sum(g * g for g in gap)
    assert mean_discrepancy(first, second).item() == pytest.approx(expected, rel=1e-5)
    assert mean_discrepancy(first, first.flip(0)).item() == pytest.approx(0, abs=1e-12)


def test_mean_discrepancy_has_its_gradient_on_both_sides(in_double):
    assert gradcheck(mean_discrepancy, [double(4, 3), double(4, 3, seed=1)])


TARGETS = torch.tensor([2, 0, 1])


def test_smoothed_target_by_hand():
    logits = draw(3, 4, scale=2)
    log_p = log_softmax(logits.double().numpy(), 1)[range(3), TARGETS]
    square = np.exp(log_p) ** 2
    expected = [-(square[b] + 1 - sum(square) / 3) * log_p[b] for b in range(3)]
    np.testing.assert_allclose(smoothed_target(logits, TARGETS), expected, rtol=1e-5)


def test_smoothed_target_holds_its_factor_still():
    logits = draw(3, 4).requires_grad_()
    smoothed_target(logits, TARGETS).sum().backward()
    p = logits.detach().double().softmax(1)
    chosen = p[range(3), TARGETS]
    factor = chosen**2 + 1 - (chosen**2).mean()
    expected = factor[:, None] * (p - torch.eye(4, dtype=torch.float64)[TARGETS])
    torch.testing.assert_close(logits.grad.double(), expected, rtol=1e-4, atol=1e-6)


def test_non_target_by_hand():
    logits, others = draw(3, 4, scale=2), draw(3, 4, seed=1).abs()
    expected = []
    for row, label, target in zip(logits.double().numpy(), others.double().numpy(), TARGETS):
        rest = [c for c in range(4) if c != target]
        log_q, z = log_softmax(row[rest]), label[rest] / label[rest].sum()
        expected.append(-(z * log_q).sum())
    np.testing.assert_allclose(non_target(logits, others, TARGETS), expected, rtol=1e-5)


def test_non_target_moves_neither_the_target_nor_the_labels(in_double):
    logits, others = double(3, 4), draw(3, 4, seed=1).abs().double().requires_grad_()
    non_target(logits, others, TARGETS).sum().backward()
    assert others.grad is None
    assert not logits.grad.gather(1, TARGETS[:, None]).any()
    fixed = others.detach()
    assert gradcheck(lambda z: non_target(z, fixed, TARGETS), logits)


def test_zipf_is_one_over_the_rank():
    scores = torch.tensor([[0.1, 3.0, -torch.inf, 2.0], [1.0, 1.0, 5.0, 1.0]])
    expected = torch.tensor([[1 / 3, 1, 1 / 4, 1 / 2], [1 / 2, 1 / 3, 1, 1 / 4]])
    torch.testing.assert_close(zipf(scores), expected)


def rows(loss, targets_from: int):
    """A loss of a number a row, of logits alone."""
    return lambda z, _: loss(z, torch.full((len(z),), targets_from)).mean()


LOSSES = {
    "jensen_shannon": jensen_shannon,
    "probability_error": probability_error,
    "soft_kl": lambda z, t: soft_kl(z, t.float().softmax(1)),
    "mean_discrepancy": mean_discrepancy,
    "smoothed_target": rows(smoothed_target, 1),
    "non_target": rows(lambda z, t: non_target(z, zipf(z.detach()), t), 1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("shape", [(1, 2), (4, 10_000)])
def test_extremes(name, dtype, shape):
    """±1e4, certain and wrong; all logits equal; and zeros: finite, with finite gradients."""
    cases = [
        (sure(*shape, dtype, 0), sure(*shape, dtype, 1)),
        (sure(*shape, dtype, 1), sure(*shape, dtype, 1)),
        (torch.zeros(shape, dtype=dtype, requires_grad=True), torch.ones(shape, dtype=dtype)),
    ]
    for student, teacher in cases:
        value = LOSSES[name](student, teacher)
        assert (value.shape, value.dtype) == ((), torch.float32)
        value.backward()
        assert value.isfinite()
        assert value.item() >= -1e-6
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", HALF)
def test_the_same_under_autocast(name, dtype):
    student, teacher = draw(8, 20, scale=3).to(dtype), draw(8, 20, scale=3, seed=1).to(dtype)
    expected = LOSSES[name](student.float(), teacher.float())
    with torch.autocast("cpu", dtype):
        actual = LOSSES[name](student, teacher)
    torch.testing.assert_close(actual, expected)


def test_squared_chord(in_double):
    student, teacher = double(4, 3), double(4, 3, seed=1)
    loss = squared_chord(student, teacher)
    expected = 0.0
    for s, t in zip(student.detach().numpy(), teacher.detach().numpy()):
        expected += sum((s / sum(s**2) ** 0.5 - t / sum(t**2) ** 0.5) ** 2) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert gradcheck(lambda s: squared_chord(s, teacher), (student,))
    loss.backward()
    assert teacher.grad is None
