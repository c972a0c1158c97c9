"""Losses on feature maps."""

import pytest
import torch

from cohobate.losses import attention, attention_distillation, attention_transfer, hint


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
