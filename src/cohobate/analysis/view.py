"""What people are shown of answers that lie all over an image."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from cohobate.core import Batch

TITLES = {
    "accuracy": "pixels right",
    "boundary_f": "boundary F",
    "map": "mAP",
    "map50": "mAP at 0.5",
    "map75": "mAP at 0.75",
    "map_small": "mAP, small",
    "map_medium": "mAP, medium",
    "map_large": "mAP, large",
    "miou": "mIoU",
    "voc_map": "VOC mAP",
    "voc07_map": "VOC 2007 mAP",
}
"""What people call the scores of such answers."""


def title(score: str) -> str:
    """A heading for a score: what people call it, or the class that it is of."""
    return score.partition("/")[2] or TITLES.get(score, score)


class View(ABC):
    """How a network's answers to images are scored one by one, drawn, and written down.

    A batch is one of the task's `eval_loader`, or what `batch` makes of a file; an answer is what the
    view's own `answers` gave for one of its rows.

    names: of the classes, in the order of their numbers.
    mark: what `worth` is called. table: the file of the lines that `cells` gives, and `headings` what
        they hold, after the image and its picture.
    """

    mark: ClassVar[str]
    table: ClassVar[str]
    side: ClassVar[int] = 240

    def __init__(self, names: Sequence[str]):
        self.names = list(names)

    @property
    @abstractmethod
    def headings(self) -> list[str]: ...

    @property
    @abstractmethod
    def legend(self) -> dict[str, str]:
        """What the colours of `panels` mean, as `#rrggbb`."""

    @abstractmethod
    def batch(self, image: Tensor, network: Any) -> Batch:
        """An image uint8 (3, H, W) as the network is shown it, with nothing known of its truth."""

    @abstractmethod
    def answers(self, network: Any, batch: Batch, **shown: Any) -> list[Any]:
        """What a network in eval mode says of each row. shown: as `Task.shown` has it."""

    @abstractmethod
    def worth(self, batch: Batch, row: int, answer: Any) -> float:
        """How good an answer is, from 0 to 1; not a number where there is nothing to be told."""

    @abstractmethod
    def panels(self, batch: Batch, row: int, answer: Any) -> dict[str, Image.Image]:
        """`image`, `truth`, `prediction` and `error`, of one size."""

    @abstractmethod
    def picture(self, batch: Batch, row: int, answer: Any) -> Image.Image:
        """The answer as a file that programs and people read."""

    @abstractmethod
    def cells(self, batch: Batch, row: int, answer: Any) -> list[list[str]]:
        """The answer as lines of a table, none or several."""

    def curves(self, answers: Iterable[Any]) -> list[list[float]]:
        """Of each class its precision at equal steps of recall, from 0 to 1; nothing by default.

        A curve is empty where there is nothing of a class.
        """
        return []


def as_image(pixels: Tensor) -> Image.Image:
    """An image (3, H, W) in [0, 1] as Pillow has it."""
    values = (255 * pixels.float().clamp(0, 1)).round().to(torch.uint8)
    return Image.fromarray(values.movedim(0, -1).cpu().numpy())
