"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.consistency import (
    jensen_shannon,
    mean_discrepancy,
    non_target,
    probability_error,
    propagated,
    smoothed_target,
    soft_kl,
    zipf,
)
from cohobate.losses.features import (
    attention,
    attention_distillation,
    attention_transfer,
    gaussian_likelihood,
    hint,
    neuron_selectivity,
    normalised_hint,
)
from cohobate.losses.labels import (
    entropy,
    focal,
    normalised,
    virtual_kl,
    virtual_softmax,
    virtual_teacher,
)
from cohobate.losses.logits import kl, standardised, total
from cohobate.losses.relations import (
    correlation_congruence,
    probabilistic_transfer,
    relational_angles,
    relational_distances,
    similarity_preserving,
)

__all__ = [
    "attention",
    "attention_distillation",
    "attention_transfer",
    "correlation_congruence",
    "entropy",
    "focal",
    "gaussian_likelihood",
    "hint",
    "jensen_shannon",
    "kl",
    "mean_discrepancy",
    "neuron_selectivity",
    "non_target",
    "normalised",
    "normalised_hint",
    "probabilistic_transfer",
    "probability_error",
    "propagated",
    "relational_angles",
    "relational_distances",
    "similarity_preserving",
    "smoothed_target",
    "soft_kl",
    "standardised",
    "total",
    "virtual_kl",
    "virtual_softmax",
    "virtual_teacher",
    "zipf",
]
