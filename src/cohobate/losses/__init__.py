"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.correlation import between_classes, between_images, pearson
from cohobate.losses.decoupled import dkd, nkd, wsld
from cohobate.losses.features import attention, attention_transfer, hint
from cohobate.losses.logits import kl, standardised, total

__all__ = [
    "attention",
    "attention_transfer",
    "between_classes",
    "between_images",
    "dkd",
    "hint",
    "kl",
    "nkd",
    "pearson",
    "standardised",
    "total",
    "wsld",
]
