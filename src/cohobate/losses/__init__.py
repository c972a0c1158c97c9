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
from cohobate.losses.features import attention, attention_distillation, attention_transfer, hint
from cohobate.losses.labels import (
    entropy,
    focal,
    normalised,
    virtual_kl,
    virtual_softmax,
    virtual_teacher,
)
from cohobate.losses.logits import kl, standardised, total

__all__ = [
    "attention",
    "attention_distillation",
    "attention_transfer",
    "entropy",
    "focal",
    "hint",
    "jensen_shannon",
    "kl",
    "mean_discrepancy",
    "non_target",
    "normalised",
    "probability_error",
    "propagated",
    "smoothed_target",
    "soft_kl",
    "standardised",
    "total",
    "virtual_kl",
    "virtual_softmax",
    "virtual_teacher",
    "zipf",
]
