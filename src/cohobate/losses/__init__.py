"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.features import attention, attention_transfer, hint
from cohobate.losses.logits import kl, standardised, total
from cohobate.losses.maps import (
    boundary,
    factor_transfer,
    flow,
    hierarchical_context,
    map_errors,
    partial_l2,
)

__all__ = [
    "attention",
    "attention_transfer",
    "boundary",
    "factor_transfer",
    "flow",
    "hierarchical_context",
    "hint",
    "kl",
    "map_errors",
    "partial_l2",
    "standardised",
    "total",
]
