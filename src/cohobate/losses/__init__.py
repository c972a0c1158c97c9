"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.features import attention, attention_transfer, hint
from cohobate.losses.logits import kl, standardised, total

__all__ = ["attention", "attention_transfer", "hint", "kl", "standardised", "total"]
