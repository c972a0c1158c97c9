"""Ways to mix the images of a batch. A mixture is drawn once and handed to all that need it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cohobate.core import Mixing, Mixture, Positive, Share


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Averages of two images.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
    https://arxiv.org/abs/1710.09412, equation 1.

    alpha: both parameters of the Beta distribution that draws the weight.
    share: fraction of the rows that is mixed, exactly, rounded to whole rows; the others stay as
        they are (partial mixup, MIX-KD, https://arxiv.org/abs/2211.03946).
    per: one weight for the whole batch, or one for each sample.
    variant: "released" draws as the released code of MIX-KD does: int((1 - share) B) rows are drawn
        *with replacement* to be left unmixed, so that far more are mixed than asked for (40.8 % of
        64 rows at share 0.1), and a row may be mixed with itself.
    """

    alpha: Positive = 0.2
    share: Share = 1.0
    per: Literal["batch", "sample"] = "batch"
    variant: Literal["paper", "released"] = "paper"

    def draw(
        self, images: Tensor, *, blocks: int = 1, generator: torch.Generator | None = None
    ) -> Mixture:
        rows = len(images) // blocks
        partner, weight = _pairs(self, rows, generator)
        return _spread(Mixture(partner, weight), blocks, images.device)


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """A box of one image in the place of another's.

    Yun et al., "CutMix", ICCV 2019, https://arxiv.org/abs/1905.04899, equations 1 and 2. Labels
    are weighted by the area that the box really has after it is clipped at the border.

    alpha, share, per, variant: as in `Mixup`; `per` decides on one box a batch or a box each.
    """

    alpha: Positive = 1.0
    share: Share = 1.0
    per: Literal["batch", "sample"] = "batch"
    variant: Literal["paper", "released"] = "paper"

    def draw(
        self, images: Tensor, *, blocks: int = 1, generator: torch.Generator | None = None
    ) -> Mixture:
        rows, (height, width) = len(images) // blocks, images.shape[-2:]
        partner, weight = _pairs(self, rows, generator)
        centres = 1 if self.per == "batch" else rows
        centre = torch.rand((centres, 2), generator=generator).expand(rows, 2)
        inside_y = _span(height, centre[:, 0], (1 - weight).sqrt())
        inside_x = _span(width, centre[:, 1], (1 - weight).sqrt())
        mask = 1.0 - (inside_y[:, None, :, None] & inside_x[:, None, None, :]).float()
        return _spread(Mixture(partner, mask.mean((1, 2, 3)), mask), blocks, images.device)


MIXINGS: dict[str, type[Mixing]] = {"cutmix": CutMix, "mixup": Mixup}
"""The mixings that [mix] in a run file can name."""


def check_rows(mixing: Mixing | None, rows: int) -> None:
    """Raises ValueError where, of a batch of so many rows, not one would be mixed with another."""
    if not isinstance(mixing, Mixup | CutMix) or mixing.share == 0:
        return
    least = 2 if mixing.variant == "released" else max(2, int(0.5 / mixing.share) + 1)
    if rows < least:
        raise ValueError(
            f"share={mixing.share:g}: of a batch of {rows} no image would be mixed with another;"
            f" give each process batches of {least} or more (data.batch_size), or share=0"
        )


def _pairs(
    mixing: Mixup | CutMix, rows: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Partner (rows,) and weight (rows,), on the CPU; the share that is mixed weighs below one."""
    order = torch.randperm(rows, generator=generator)
    draws = 1 if mixing.per == "batch" else rows
    weight = _beta(mixing.alpha, draws, generator).expand(rows).clone()
    if mixing.variant == "released":
        count = int(round((1 - mixing.share) * rows, 6))  # 1 - 0.9 is less than 0.1
        kept = torch.randint(rows, (count,), generator=generator)
        partner = order
    else:
        kept = torch.randperm(rows, generator=generator)[round(mixing.share * rows) :]
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)  # a single cycle: nobody is mixed with itself
    weight[kept] = 1.0
    return partner, weight


def _beta(alpha: float, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` draws from Beta(alpha, alpha), float32; two gamma draws each."""
    concentration = torch.full((2, count), alpha, dtype=torch.float64)
    mine, other = torch._standard_gamma(concentration, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
    mine = mine.clamp_min(1e-300)  # where both underflow (alpha < 0.01), the row stays as it is
    return (mine / (mine + other)).float()


def _span(size: int, centre: Tensor, share: Tensor) -> Tensor:
    """Which of `size` pixels lie in a span around `centre` (rows,), clipped at the border."""
    half = (size * share / 2).floor()
    middle = (size * centre).floor()
    pixel = torch.arange(size)
    return (pixel >= (middle - half)[:, None]) & (pixel < (middle + half)[:, None])


def _spread(mix: Mixture, blocks: int, device: torch.device) -> Mixture:
    """The same mixture within each of `blocks` blocks of rows, on `device`."""
    rows = len(mix.partner)
    offset = torch.arange(blocks).repeat_interleave(rows) * rows
    return Mixture(
        (mix.partner.repeat(blocks) + offset).to(device, non_blocking=True),
        mix.weight.repeat(blocks).to(device, non_blocking=True),
        None
        if mix.mask is None
        else mix.mask.repeat(blocks, 1, 1, 1).to(device, non_blocking=True),
    )
