"""Losses on feature maps."""

import pytest
import torch

from cohobate.losses import hint


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
