"""Which test images a network answered rightly, as a run leaves it in `outcomes.json`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a network made of each image of a split.

    fingerprint: of the split, as `Split.fingerprint` gives it.
    right: (N,) bool, whether the likeliest class is the image's own, in the order of the split.
    """

    fingerprint: str
    right: NDArray[np.bool_]

    @property
    def top1(self) -> float:
        return float(self.right.mean())

    def table(self) -> dict[str, Any]:
        """As JSON: the answers are bits, the first image the highest of the first byte, in hex."""
        packed = np.packbits(self.right).tobytes().hex()
        return {"images": len(self.right), "fingerprint": self.fingerprint, "right": packed}

    @classmethod
    def of(cls, table: dict[str, Any]) -> "Outcomes":
        """What `table` gave, read back. Raises ValueError where it is something else."""
        try:
            count, fingerprint = int(table["images"]), str(table["fingerprint"])
            packed = np.frombuffer(bytes.fromhex(table["right"]), np.uint8)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it holds no outcomes ({type(error).__name__}: {error})") from None
        if count < 1 or len(packed) != -(-count // 8):
            raise ValueError(f"it holds {len(packed)} bytes of answers for {count} images")
        return cls(fingerprint, np.unpackbits(packed, count=count).astype(bool))
