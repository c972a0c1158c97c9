"""Hashing of 32-bit words: what random draws that are pure functions are made of."""

from typing import TypeVar

from torch import Tensor

WORD = 0xFFFFFFFF  # words of 32 bits, held in int64
Word = TypeVar("Word", int, Tensor)


def mix(word: Word) -> Word:
    """A bijection of 32-bit words that lets each bit of the input change every bit of the output.

    The constants are those of Wellons' `lowbias32`. Taken as signed, they keep every product of a
    word below 2^63, so that int64 never overflows.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & WORD
    word = word ^ (word >> 15)
    word = (word * (0x846CA68B - 2**32)) & WORD
    return word ^ (word >> 16)
