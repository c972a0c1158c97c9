"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.features import (
    attention,
    attention_transfer,
    gaussian_likelihood,
    hint,
    neuron_selectivity,
    normalised_hint,
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
    "attention_transfer",
    "correlation_congruence",
    "gaussian_likelihood",
    "hint",
    "kl",
    "neuron_selectivity",
    "normalised_hint",
    "probabilistic_transfer",
    "relational_angles",
    "relational_distances",
    "similarity_preserving",
    "standardised",
    "total",
]
