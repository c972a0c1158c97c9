"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

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
    "kl",
    "normalised",
    "standardised",
    "total",
    "virtual_kl",
    "virtual_softmax",
    "virtual_teacher",
]
