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
from cohobate.losses.correlation import between_classes, between_images, pearson
from cohobate.losses.decoupled import dkd, nkd, wsld
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
from cohobate.losses.maps import (
    boundary,
    factor_transfer,
    flow,
    hierarchical_context,
    map_errors,
    partial_l2,
)
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
    "between_classes",
    "between_images",
    "boundary",
    "correlation_congruence",
    "dkd",
    "entropy",
    "factor_transfer",
    "flow",
    "focal",
    "gaussian_likelihood",
    "hierarchical_context",
    "hint",
    "jensen_shannon",
    "kl",
    "map_errors",
    "mean_discrepancy",
    "neuron_selectivity",
    "nkd",
    "non_target",
    "normalised",
    "normalised_hint",
    "partial_l2",
    "pearson",
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
    "wsld",
    "zipf",
]
