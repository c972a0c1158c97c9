"""Losses on feature maps."""

from itertools import product
from math import log, pi

import numpy as np
import pytest
import torch

from cohobate.losses import (
    attention,
    attention_distillation,
    attention_transfer,
    gaussian_likelihood,
    hint,
    neuron_selectivity,
    normalised_hint,
)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 5)])
def test_hint_is_the_mean_squared_difference(shape):
    student, teacher = torch.randn(shape), torch.randn(shape)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist())
    expected = sum((a - b) ** 2 for a, b in pairs) / student.numel()
    assert hint(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_hint_pulls_both_sides():
    student, teacher = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    hint(student, teacher).backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 3)
    torch.testing.assert_close(teacher.grad, -student.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_hint_computes_in_float32(dtype):
    """300² is beyond float16."""
    maps = torch.full((2, 3), 300.0, dtype=dtype)
    value = hint(maps, torch.zeros_like(maps))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(90_000, rel=1e-6)


def attention_by_hand(features: torch.Tensor) -> list[list[float]]:
    """Mean over channels of squares, pixel by pixel, over its norm."""
    rows = []
    for row in features.double().numpy():
        _, height, width = row.shape
        energy = [
            sum(float(channel[y, x]) ** 2 for channel in row) / len(row)
            for y in range(height)
            for x in range(width)
        ]
        norm = sum(e * e for e in energy) ** 0.5
        rows.append([e / norm for e in energy])
    return rows


def test_attention_is_a_map_of_unit_norm():
    features = torch.randn(3, 4, 2, 5)
    torch.testing.assert_close(attention(features), torch.tensor(attention_by_hand(features)))
    torch.testing.assert_close(attention(features).norm(dim=1), torch.ones(3))
    assert not attention(torch.zeros(3, 4, 2, 5)).any()


def test_attention_transfer_is_a_mean_over_images_and_pixels():
    student, teacher = torch.randn(3, 4, 2, 5), torch.randn(3, 6, 2, 5)
    pairs = zip(attention_by_hand(student), attention_by_hand(teacher))
    gaps = [(a - b) ** 2 for left, right in pairs for a, b in zip(left, right)]
    assert len(gaps) == 30
    assert attention_transfer(student, teacher).item() == pytest.approx(sum(gaps) / 30, rel=1e-5)


def test_attention_transfer_pulls_the_student_alone():
    student, teacher = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    attention_transfer(student, teacher).backward()
    assert student.grad is not None and student.grad.any()
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_computes_in_float32(dtype):
    value = attention(torch.full((2, 3, 2, 2), 300.0, dtype=dtype))
    torch.testing.assert_close(value, torch.full((2, 4), 0.5))


def test_a_map_of_zeros_has_no_infinite_gradient():
    dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention_transfer(dead, torch.randn(2, 3, 4, 4)).backward()
    assert dead.grad is not None and dead.grad.isfinite().all()


def test_attention_distillation_is_a_mean_of_squared_shares():
    """The softmax over pixels of the energy; maps of one size, any number of channels."""
    shallow, deep = torch.randn(2, 3, 2, 3), torch.randn(2, 5, 2, 3)
    energies = [f.double().square().mean(1).flatten(1) for f in (shallow, deep)]
    a, b = (e.exp() / e.exp().sum(1, keepdim=True) for e in energies)
    expected = ((a - b) ** 2).sum().item() / 12
    assert attention_distillation(shallow, deep).item() == pytest.approx(expected, rel=1e-5)


def test_attention_distillation_resizes_the_energy_of_the_deeper_map():
    """Not the map itself, whose positive and negative cells would cancel."""
    shallow, deep = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)
    deep[0, 0, 0] = -1
    assert attention_distillation(shallow, deep).item() == pytest.approx(0, abs=1e-12)


def test_attention_distillation_pulls_the_shallow_map_alone():
    shallow, deep = torch.randn(2, 3, 4, 4), torch.randn(2, 6, 2, 2)
    attention_distillation(shallow.requires_grad_(), deep.requires_grad_()).backward()
    assert shallow.grad is not None and shallow.grad.any()
    assert deep.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_attention_distillation_at_extremes(dtype, value):
    """Dead and even maps agree; one that is active in a single pixel is finite, too."""
    maps = torch.full((1, 3, 4, 4), value, dtype=dtype, requires_grad=True)
    peak = torch.zeros(1, 3, 2, 2, dtype=dtype)
    assert attention_distillation(maps, peak).item() == pytest.approx(0, abs=1e-12)
    peak[..., 0, 0] = 1e4
    loss = attention_distillation(maps, peak)
    loss.backward()
    assert loss.dtype is torch.float32 and loss.isfinite()
    assert maps.grad is not None and maps.grad.isfinite().all()


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def selectivity_by_hand(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """The squared MMD with the kernel (x·y)², channel by channel, in float64."""
    sides = [v.double().flatten(2).numpy() for v in (student, teacher)]
    gaps = []
    for own, other in zip(*sides):
        a, b = ([row / np.linalg.norm(row) for row in rows] for rows in (own, other))
        within = np.mean([(x @ y) ** 2 for x in a for y in a])
        within += np.mean([(x @ y) ** 2 for x in b for y in b])
        gaps.append(within - 2 * np.mean([(x @ y) ** 2 for x in a for y in b]))
    return float(np.mean(gaps))


@pytest.mark.parametrize(
    "own, other, side", [(3, 3, 4), (2, 9, 1), (8, 12, 2), (12, 8, 2), (1, 1, 3)]
)
def test_neuron_selectivity_by_way_of_channels_or_of_pixels(own, other, side):
    student, teacher = draw(3, own, side, side), draw(3, other, side, side, seed=1)
    actual = neuron_selectivity(student, teacher)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(selectivity_by_hand(student, teacher), abs=1e-6)


def test_neuron_selectivity_sees_neither_the_order_nor_the_size_of_channels():
    teacher = draw(2, 5, 3, 3)
    order = torch.tensor([3, 0, 4, 1, 2])
    student = teacher[:, order] * torch.tensor([1.0, 2.0, 0.5, 7.0, 3.0]).view(-1, 1, 1)
    assert neuron_selectivity(student, teacher).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (1, 1, 1, 1)])
def test_gaussian_likelihood_is_that_of_a_normal_distribution(shape):
    mean, teacher = draw(*shape), draw(*shape, seed=1)
    variance = torch.linspace(0.3, 2, shape[1])
    normal = torch.distributions.Normal(mean.double(), variance.double().sqrt()[:, None, None])
    expected = -normal.log_prob(teacher.double()).mean() - log(2 * pi) / 2
    actual = gaussian_likelihood(mean, variance, teacher)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)


def test_gaussian_likelihood_teaches_mean_and_variance():
    mean, teacher = draw(2, 3, 4, 4).requires_grad_(), draw(2, 3, 4, 4, seed=1).requires_grad_()
    variance = torch.ones(3, requires_grad=True)
    gaussian_likelihood(mean, variance, teacher).backward()
    assert teacher.grad is None
    torch.testing.assert_close(mean.grad, (mean - teacher).detach() / mean.numel())
    error = (mean - teacher).detach().square().mean((0, 2, 3))
    torch.testing.assert_close(variance.grad, (1 - error) / 2 / 3)  # zero where they are equal


def normalised_by_hand(maps: torch.Tensor) -> np.ndarray:
    """Each channel of each image less its mean, over its deviation; 0 where that is 0."""
    result = maps.double().numpy().copy()
    for image in result:
        for channel in image:
            channel -= channel.mean()
            deviation = np.sqrt(np.mean(channel**2))
            channel /= deviation if deviation > 1e-9 else 1.0
    return result


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_normalised_hint_is_the_mean_squared_difference_of_standard_maps(scale):
    student, teacher = draw(3, 4, 2, 5, scale=scale), draw(3, 4, 2, 5, seed=1) + 3
    expected = np.square(normalised_by_hand(student) - normalised_by_hand(teacher)).mean()
    actual = normalised_hint(student, teacher)
    assert (actual.shape, actual.dtype) == ((), torch.float32)
    assert actual.item() == pytest.approx(expected, rel=1e-4)


def test_normalised_hint_sees_no_magnitude():
    teacher = draw(2, 3, 4, 4)
    student = torch.tensor([0.1, 5.0, 20.0]).view(-1, 1, 1) * teacher + 2
    assert normalised_hint(student, teacher).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_what_is_constant_is_zero_once_normalised(value):
    student = torch.full((2, 3, 4, 4), value, requires_grad=True)
    actual = normalised_hint(student, draw(2, 3, 4, 4))
    actual.backward()
    assert actual.item() == pytest.approx(1, rel=1e-5)
    assert student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("loss", [neuron_selectivity, normalised_hint])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 4, 4), (1, 1, 2, 3)])
def test_one_sided_and_finite_for_dead_maps_too(loss, shape):
    ours = draw(*shape), torch.zeros(shape), torch.ones(shape), draw(*shape, scale=1e-30)
    for maps, target in product(ours, (draw(*shape, seed=1), torch.zeros(shape))):
        student, teacher = maps.clone().requires_grad_(), target.clone().requires_grad_()
        value = loss(student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad is not None and student.grad.isfinite().all()
        assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_maps_are_compared_in_float32(dtype, scale):
    student, teacher = (draw(2, 6, 4, 4, scale=scale, seed=k).clamp(-1e4, 1e4) for k in range(2))
    student, teacher, variance = student.to(dtype), teacher.to(dtype), torch.ones(6)
    whole = student.float(), teacher.float()
    with torch.autocast("cpu", dtype):
        selectivity = neuron_selectivity(student, teacher)
        normalised = normalised_hint(student, teacher)
        likelihood = gaussian_likelihood(student, variance, teacher)
    assert selectivity.item() == pytest.approx(selectivity_by_hand(*whole), abs=1e-6)
    torch.testing.assert_close(normalised, normalised_hint(*whole))
    torch.testing.assert_close(likelihood, gaussian_likelihood(whole[0], variance, whole[1]))


@pytest.mark.parametrize("loss", [neuron_selectivity, normalised_hint])
@pytest.mark.parametrize("channels", [2, 6])
def test_gradient_by_finite_differences(loss, channels, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    student, teacher = (draw(2, channels, 2, 2, seed=k).double() for k in range(2))
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student.requires_grad_())


def test_gradient_of_the_likelihood_by_finite_differences(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    mean, teacher = (draw(2, 3, 2, 2, seed=k).double() for k in range(2))
    variance = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    inputs = mean.requires_grad_(), variance.requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: gaussian_likelihood(m, v, teacher), inputs)
