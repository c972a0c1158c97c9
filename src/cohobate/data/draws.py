"""Random numbers as pure functions of what they are for; no global generator is touched."""

from typing import TypeVar

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF  # words of 32 bits, held in int64
Word = TypeVar("Word", int, Tensor)


def uniform(seed: int, epoch: int, ids: Tensor, view: int, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each image, (..., count) float32, the same bits on every device.

    ids: (...) int64, below 2^32. An image's numbers depend on (seed, epoch, id, view) alone, not on
    its place in the batch, the process that asks or the order of asking.
    """
    first, second, third = (_key(salt, seed, epoch, view) for salt in range(3))
    rows = _mix((_mix(ids ^ first) + second) & _WORD)
    columns = _mix((torch.arange(count, device=ids.device) + third) & _WORD)
    return (_mix(rows[..., None] ^ columns) >> 8).float() * 2**-24


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU whose stream is a pure function of `numbers`."""
    return torch.Generator().manual_seed(_key(*numbers))


def _mix(word: Word) -> Word:
    """A bijection of 32-bit words that lets each bit of the input change every bit of the output.

    The constants are those of Wellons' `lowbias32`. Taken as signed, they keep every product of a
    word below 2^63, so that int64 never overflows.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _WORD
    word = word ^ (word >> 15)
    word = (word * (0x846CA68B - 2**32)) & _WORD
    return word ^ (word >> 16)


def _key(*numbers: int) -> int:
    """One word from any numbers; each counts with its lowest 64 bits."""
    word = 0
    for number in numbers:
        for part in (number, number >> 32):
            word = _mix((word + (part & _WORD) + 0x9E3779B9) & _WORD)
    return word
