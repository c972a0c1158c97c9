"""Every public loss stays finite, value and gradients, whatever it is given."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cohobate import losses

Pair = Callable[[Tensor, Tensor, Tensor], Tensor]

LOGITS: dict[str, Pair] = {
    "kl": lambda s, t, y: losses.kl(s, t, 4.0),
    "standardised": lambda s, t, y: losses.kl(losses.standardised(s), losses.standardised(t)),
    "dkd": lambda s, t, y: losses.dkd(s, t, y).mean(),
    "nkd": lambda s, t, y: losses.nkd(s, t, y).mean(),
    "wsld": lambda s, t, y: losses.wsld(s, t, y).mean(),
    "focal": lambda s, t, y: losses.focal(s, y, 2.0).mean(),
    "entropy": lambda s, t, y: losses.entropy(s),
    "normalised": lambda s, t, y: losses.normalised(s).square().sum(1).mean(),
    "virtual_kl": lambda s, t, y: losses.virtual_kl(
        s, losses.virtual_teacher(y, s.shape[1], 0.99), 20.0
    ).mean(),
    "virtual_softmax": lambda s, t, y: losses.virtual_softmax(
        s, torch.ones(s.shape[1], 1), s[:, :1], y
    ).mean(),
    "jensen_shannon": lambda s, t, y: losses.jensen_shannon(s, t, s + t),
    "probability_error": lambda s, t, y: losses.probability_error(s, t),
    "soft_kl": lambda s, t, y: losses.soft_kl(s, t.float().softmax(1), 4.0),
    "squared_chord": lambda s, t, y: losses.squared_chord(s, t),
    "propagated": lambda s, t, y: losses.soft_kl(s, losses.propagated(t, s, 0.5, 4.0), 4.0),
    "mean_discrepancy": lambda s, t, y: losses.mean_discrepancy(s, t),
    "smoothed_target": lambda s, t, y: losses.smoothed_target(s, y).mean(),
    "non_target": lambda s, t, y: losses.non_target(s, losses.zipf(t), y).mean(),
    "pearson": lambda s, t, y: losses.pearson(s, t).mean(),
    "between_images": lambda s, t, y: losses.between_images(s, t),
    "between_classes": lambda s, t, y: (
        losses.between_classes(s, t) if s.shape[1] < 100 else s.sum() * 0
    ),
    "inter_class_similarity": lambda s, t, y: (
        losses.inter_class_similarity(s, t, 4.0) if s.shape[1] < 100 else s.sum() * 0
    ),
    "chosen_kl": lambda s, t, y: losses.chosen_kl(s, t, losses.least_wrong(t, y, 0.5), 4.0),
    "nce": lambda s, t, y: losses.nce(
        s[:, 0], t, torch.ones_like(t, dtype=torch.bool), s.new_zeros(()).float()
    ),
    "wasserstein_dual": lambda s, t, y: losses.wasserstein_dual(losses.cosines(s, t)),
    "transport": lambda s, t, y: losses.transport(s, t, 0.05, 5),
    "similarity_preserving": lambda s, t, y: losses.similarity_preserving(s, t),
    "correlation_congruence": lambda s, t, y: losses.correlation_congruence(s, t),
    "relational_distances": lambda s, t, y: losses.relational_distances(s, t),
    "relational_angles": lambda s, t, y: losses.relational_angles(s, t),
    "probabilistic_transfer": lambda s, t, y: losses.probabilistic_transfer(s, t),
    "rich_kl": lambda s, t, y: losses.rich_kl(s, t, 4.0),
}
"""Losses of rows (B, C) of a student and a teacher, with class indices (B,)."""

MAPS: dict[str, Pair] = {
    "hint": lambda s, t, y: losses.hint(s, t),
    "attention_transfer": lambda s, t, y: losses.attention_transfer(s, t),
    "attention_distillation": lambda s, t, y: losses.attention_distillation(s, t),
    "neuron_selectivity": lambda s, t, y: losses.neuron_selectivity(s, t),
    "gaussian_likelihood": lambda s, t, y: losses.gaussian_likelihood(
        s, torch.ones(s.shape[1], 1, 1), t
    ),
    "normalised_hint": lambda s, t, y: losses.normalised_hint(s, t),
    "partial_l2": lambda s, t, y: losses.partial_l2(s, t, torch.zeros(s.shape[1], 1, 1)),
    "boundary": lambda s, t, y: losses.boundary(s, t),
    "flow": lambda s, t, y: losses.flow(s, t).mean(),
    "hierarchical_context": lambda s, t, y: losses.hierarchical_context(s, t),
    "factor_transfer": lambda s, t, y: losses.factor_transfer(s, t),
    "map_errors": lambda s, t, y: losses.map_errors(s, t).mean(),
}
"""Losses of maps (B, C, H, W) of one shape."""

WITHIN = {
    *("attention", "channel_wise", "cosines", "inter_class", "least_wrong", "sinkhorn", "total"),
    *("virtual_teacher", "zipf"),
}
"""What others of the list are made of, and tested in."""


def test_none_is_left_out():
    assert {*losses.__all__} - {*LOGITS, *MAPS} == WITHIN


def finite(loss: Pair, student: Tensor, teacher: Tensor, targets: Tensor) -> None:
    student = student.requires_grad_()
    value = loss(student, teacher, targets)
    assert value.ndim == 0
    assert value.isfinite()
    value.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def rows(shape: tuple[int, ...], scale: float, kind: torch.dtype, seed: int) -> list[Tensor]:
    """Two draws of a scale, the first entry of each as large as it gets."""
    draw = torch.Generator().manual_seed(seed)
    both = torch.randn(2, *shape, generator=draw).clamp(-1, 1)
    both[..., 0, *[0] * (len(shape) - 1)] = 1
    return [one.to(kind) for one in (scale * both)]


KINDS = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
SCALES = st.sampled_from([0.0, 1e-4, 1.0, 100.0, 1e4])


@pytest.mark.parametrize("name", LOGITS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.sampled_from([1, 2, 5]),
    classes=st.sampled_from([2, 3, 40]),
    scale=SCALES,
    other=SCALES,
    kind=KINDS,
)
@example(batch=2, classes=10_000, scale=1e4, other=1.0, kind=torch.bfloat16)
@example(batch=1, classes=10_000, scale=1.0, other=1e4, kind=torch.float16)
def test_rows(name, batch, classes, scale, other, kind):
    student = rows((batch, classes), scale, kind, 0)[0]
    teacher = rows((batch, classes), other, kind, 1)[1]
    finite(LOGITS[name], student, teacher, torch.arange(batch) % classes)


@pytest.mark.parametrize("name", MAPS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.sampled_from([1, 3]),
    channels=st.sampled_from([1, 6]),
    side=st.sampled_from([1, 4]),
    scale=SCALES,
    other=SCALES,
    kind=KINDS,
)
def test_maps(name, batch, channels, side, scale, other, kind):
    student = rows((batch, channels, side, side), scale, kind, 0)[0]
    teacher = rows((batch, channels, side, side), other, kind, 1)[1]
    finite(MAPS[name], student, teacher, torch.arange(batch))
