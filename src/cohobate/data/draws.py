"""Random numbers as pure functions of what they are for; no global generator is touched."""

import torch
from torch import Tensor

from cohobate.words import WORD, mix


def uniform(seed: int, epoch: int, ids: Tensor, view: int, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each image, (..., count) float32, the same bits on every device.

    ids: (...) int64, below 2^32. An image's numbers depend on (seed, epoch, id, view) alone, not on
    its place in the batch, the process that asks or the order of asking.
    """
    first, second, third = (_key(salt, seed, epoch, view) for salt in range(3))
    rows = mix((mix(ids ^ first) + second) & WORD)
    columns = mix((torch.arange(count, device=ids.device) + third) & WORD)
    return (mix(rows[..., None] ^ columns) >> 8).float() * 2**-24


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU whose stream is a pure function of `numbers`."""
    return torch.Generator().manual_seed(_key(*numbers))


def _key(*numbers: int) -> int:
    """One word from any numbers; each counts with its lowest 64 bits."""
    word = 0
    for number in numbers:
        for part in (number, number >> 32):
            word = mix((word + (part & WORD) + 0x9E3779B9) & WORD)
    return word
