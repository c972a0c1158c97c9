"""Losses as plain functions of tensors: the class axis is 1, the mean runs over everything else."""

from cohobate.losses.features import hint
from cohobate.losses.logits import kl, total

__all__ = ["hint", "kl", "total"]
