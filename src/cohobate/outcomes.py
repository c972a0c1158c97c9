"""What a network made of each test image, as a run leaves it in `outcomes.json`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Which images of a split a network answered rightly.

    fingerprint: of the split, as `Split.fingerprint` gives it.
    right: (N,) bool, whether the likeliest class is the image's own, in the order of the split.
    """

    fingerprint: str
    right: NDArray[np.bool_]

    @staticmethod
    def shape(images: int, classes: int) -> tuple[int, ...]:
        """Of the counts that `evaluate.classification` fills."""
        return (images,)

    @classmethod
    def counted(cls, fingerprint: str, counts: NDArray[np.integer]) -> "Outcomes":
        return cls(fingerprint, counts.astype(bool))

    @property
    def score(self) -> float:
        """Top-1."""
        return float(self.right.mean())

    @property
    def least(self) -> float:
        """The smallest difference of two scores that is one."""
        return 1 / len(self.right)

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


@dataclass(frozen=True, eq=False)
class Overlaps:
    """How far the masks that a network gave the images of a split agree with the true ones.

    fingerprint: of the split. counts: (N, 2, C) int, for each image and class the pixels that are of
    it in both masks, and in either; void ones aside.
    """

    fingerprint: str
    counts: NDArray[np.integer]

    @staticmethod
    def shape(images: int, classes: int) -> tuple[int, ...]:
        """Of the counts that `pixelwise.segmentation` fills."""
        return (images, 2, classes)

    @classmethod
    def counted(cls, fingerprint: str, counts: NDArray[np.integer]) -> "Overlaps":
        return cls(fingerprint, counts)

    @property
    def score(self) -> float:
        """The mean over classes of their intersection over union, counted over all images."""
        common, either = self.counts.sum(0)
        return float((common[either > 0] / either[either > 0]).mean())

    @property
    def least(self) -> float:
        """The smallest difference of two scores that is one: less, another machine may make."""
        return 1e-3

    def table(self) -> dict[str, Any]:
        """As JSON: of each image `[class, both, either]` for every class in either of its masks."""
        images, _, classes = self.counts.shape
        rows = [
            [[k, int(both), int(either)] for k, (both, either) in enumerate(image.T) if either]
            for image in self.counts
        ]
        return {
            "images": images,
            "classes": classes,
            "fingerprint": self.fingerprint,
            "overlaps": rows,
        }

    @classmethod
    def of(cls, table: dict[str, Any]) -> "Overlaps":
        """What `table` gave, read back. Raises ValueError where it is something else."""
        try:
            counts = np.zeros((int(table["images"]), 2, int(table["classes"])), np.int64)
            for image, row in zip(counts, table["overlaps"], strict=True):
                for kind, both, either in row:
                    image[:, kind] = both, either
            fingerprint = str(table["fingerprint"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"it holds no overlaps ({type(error).__name__}: {error})") from None
        if not counts.any():
            raise ValueError("it holds overlaps of no pixel")
        return cls(fingerprint, counts)
