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
from cohobate.losses.features import attention, attention_transfer, hint
from cohobate.losses.logits import kl, standardised, total

__all__ = [
    "attention",
    "attention_transfer",
    "hint",
    "jensen_shannon",
    "kl",
    "mean_discrepancy",
    "non_target",
    "probability_error",
    "propagated",
    "smoothed_target",
    "soft_kl",
    "standardised",
    "total",
    "zipf",
]
