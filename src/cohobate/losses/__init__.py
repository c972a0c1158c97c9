"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.contrast import (
    chosen_kl,
    cosines,
    inter_class,
    inter_class_similarity,
    least_wrong,
    nce,
    sinkhorn,
    transport,
    wasserstein_dual,
)
from cohobate.losses.features import attention, attention_transfer, hint
from cohobate.losses.logits import kl, standardised, total

__all__ = [
    "attention",
    "attention_transfer",
    "chosen_kl",
    "cosines",
    "hint",
    "inter_class",
    "inter_class_similarity",
    "kl",
    "least_wrong",
    "nce",
    "sinkhorn",
    "standardised",
    "total",
    "transport",
    "wasserstein_dual",
]
