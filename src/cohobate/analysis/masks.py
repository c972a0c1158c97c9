"""Masks as people see them: a colour a class, and what is wrong in one of its own."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cohobate import pixelwise
from cohobate.analysis.view import View, as_image
from cohobate.core import VOID, Batch

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Okabe and Ito's, which people see apart whose eyes tell fewer colours; class 0 is their black."""
TINTS = (0.0, 0.55, -0.5, 0.3, -0.25, 0.75, -0.7)
"""How far the colours are mixed with white, or black where it is less than 0, when all are used up."""
WRONG, NO_MATTER = "#D55E00", "#FFFFFF"
VEIL = 0.5
"""The share of the colour in a picture of a mask; the rest is the image, in grey."""


def colours(classes: int) -> list[str]:
    """A colour for each class, as `#rrggbb`; after 50 classes they come again."""
    every = ["#000000", *(_tinted(colour, tint) for tint in TINTS for colour in COLOURS)]
    return [every[number % len(every)] for number in range(classes)]


def _tinted(colour: str, share: float) -> str:
    end = 255 if share > 0 else 0
    parts = (round(part + abs(share) * (end - part)) for part in bytes.fromhex(colour[1:]))
    return "#" + "".join(f"{part:02X}" for part in parts)


class MaskView(View):
    """A class for every pixel."""

    mark: ClassVar[str] = "mIoU"
    table: ClassVar[str] = "shares.csv"

    def __init__(self, names: Sequence[str]):
        super().__init__(names)
        self.colours = colours(len(names))

    @property
    def headings(self) -> list[str]:
        return self.names

    @property
    def legend(self) -> dict[str, str]:
        return {
            **dict(zip(self.names, self.colours)),
            "void": NO_MATTER,
            "wrong, in the last picture": WRONG,
        }

    def batch(self, image: Tensor, network: Any) -> Batch:
        nothing = torch.full((1, *image.shape[1:]), VOID)
        return Batch(image[None].float().div(255), nothing, torch.zeros(1, dtype=torch.int64))

    def answers(self, network: Any, batch: Batch, **shown: Any) -> list[Tensor]:
        """The class of every pixel (H, W) of each image."""
        return [*pixelwise.predict(network, batch.images, **shown).argmax(1)]

    def worth(self, batch: Batch, row: int, answer: Tensor) -> float:
        """The mean IoU of the classes in either mask of the image."""
        common, either = pixelwise.overlap(answer, batch.targets[row], len(self.names)).double()
        return float((common / either).nanmean())

    def panels(self, batch: Batch, row: int, answer: Tensor) -> dict[str, Image.Image]:
        truth = batch.targets[row]
        wrong = (answer != truth) & (truth != VOID)
        image = batch.images[row].float().cpu()
        said = torch.where(truth == VOID, VOID, answer)
        return {
            "image": as_image(image),
            "truth": self._veiled(image, truth),
            "prediction": self._veiled(image, answer),
            "error": self._marked(image, wrong, said),
        }

    def picture(self, batch: Batch, row: int, answer: Tensor) -> Image.Image:
        """A PNG of class numbers, with the colours as its palette."""
        mask = Image.fromarray(answer.to(torch.uint8).cpu().numpy(), mode="P")
        mask.putpalette([part for each in self.colours for part in bytes.fromhex(each[1:])])
        return mask

    def cells(self, batch: Batch, row: int, answer: Tensor) -> list[list[str]]:
        """One line: the share of each class in the pixels."""
        counts = answer.flatten().bincount(minlength=len(self.names))
        return [[f"{share:.6f}" for share in (counts / answer.numel()).tolist()]]

    def _veiled(self, image: Tensor, mask: Tensor) -> Image.Image:
        """The mask's colours over the pale grey of the image, which shows below black, too."""
        table = torch.zeros(256, 3)
        for number, colour in [*enumerate(self.colours), (VOID, NO_MATTER)]:
            table[number] = _rgb(colour)
        inked = table[mask.cpu().long()].movedim(-1, 0)
        pale = 0.35 + 0.65 * image.mean(0, keepdim=True)
        return as_image(VEIL * inked + (1 - VEIL) * pale)

    def _marked(self, image: Tensor, wrong: Tensor, said: Tensor) -> Image.Image:
        """What is wrong and what is void, on the pale grey of the image."""
        pale = 0.4 + 0.35 * image.mean(0, keepdim=True).expand(3, -1, -1)
        pale = torch.where((said == VOID).cpu(), _rgb(NO_MATTER)[:, None, None], pale)
        return as_image(torch.where(wrong.cpu(), _rgb(WRONG)[:, None, None], pale))


def _rgb(colour: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255).float()
