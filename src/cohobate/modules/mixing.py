"""Ways to mix the images of a batch. A mixture is drawn once and handed to all that need it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

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


@dataclass(frozen=True, kw_only=True)
class ResizeMix:
    """The whole of one image, made smaller, on top of another.

    Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True Labels", 2020,
    https://arxiv.org/abs/2012.11101, section 3.2. The smaller image has `smallest` to `largest` of
    the sides of the whole one, lies within the other, and labels are weighted by its area.

    alpha: both parameters of the Beta distribution that draws the side; 1, the paper's, is uniform.
    share, per: as in `Mixup`; `per` decides on one side and place a batch, or one each.
    """

    smallest: ClassVar[float] = 0.1
    largest: ClassVar[float] = 0.8
    variant: ClassVar[Literal["paper"]] = "paper"
    alpha: Positive = 1.0
    share: Share = 1.0
    per: Literal["batch", "sample"] = "batch"

    def draw(
        self, images: Tensor, *, blocks: int = 1, generator: torch.Generator | None = None
    ) -> Mixture:
        rows, size = len(images) // blocks, torch.tensor(images.shape[-2:])
        partner, weight = _pairs(self, rows, generator)
        side = self.smallest + (self.largest - self.smallest) * (1 - weight)
        sides = (size * side[:, None]).floor().clamp_min(1) * (weight < 1)[:, None]
        places = 1 if self.per == "batch" else rows
        place = torch.rand((places, 2), generator=generator).expand(rows, 2)
        corner = (place * (size - sides + 1)).floor()
        inside_y, inside_x = (
            _between(length, corner[:, k], corner[:, k] + sides[:, k])
            for k, length in enumerate(images.shape[-2:])
        )
        mask = 1.0 - (inside_y[:, None, :, None] & inside_x[:, None, None, :]).float()
        box = torch.cat([(corner / size).flip(1), (sides / size).flip(1)], 1)
        return _spread(Mixture(partner, mask.mean((1, 2, 3)), mask, box), blocks, images.device)


@dataclass(frozen=True, kw_only=True)
class FMix:
    """Patches of one image, of any shape, in the place of another's.

    Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020,
    https://arxiv.org/abs/2002.12047, section 4. Where noise of low frequencies is highest, the
    image is kept: of a spectrum of normal draws divided by frequency^`decay`, and of as many pixels
    as the weight says, to the nearest whole one.

    alpha, share, per: as in `Mixup`; `per` decides on one mask a batch or a mask each.
    """

    decay: ClassVar[float] = 3.0
    variant: ClassVar[Literal["paper"]] = "paper"
    alpha: Positive = 1.0
    share: Share = 1.0
    per: Literal["batch", "sample"] = "batch"

    def draw(
        self, images: Tensor, *, blocks: int = 1, generator: torch.Generator | None = None
    ) -> Mixture:
        rows, (height, width) = len(images) // blocks, images.shape[-2:]
        partner, weight = _pairs(self, rows, generator)
        noises = 1 if self.per == "batch" else rows
        noise = _low_frequencies(noises, height, width, self.decay, generator)
        order = noise.flatten(1).argsort(dim=1, descending=True).expand(rows, -1)
        kept = torch.arange(height * width) < (weight * height * width).round()[:, None]
        mask = torch.empty(order.shape).scatter_(1, order, kept.float())
        mask = mask.view(rows, 1, height, width)
        return _spread(Mixture(partner, mask.mean((1, 2, 3)), mask), blocks, images.device)


@dataclass(frozen=True, kw_only=True)
class ManifoldMixing:
    """`Mixup`, of the images or of what one of the first layers of a network makes of them.

    Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden States", ICML
    2019, https://arxiv.org/abs/1806.05236, section 2. The method has to do it: no run file can
    ask for this mixing alone.

    alpha, share, per: as in `Mixup`.
    deepest: the last of the layers that may be drawn, one a batch; 0 is the images.
    """

    variant: ClassVar[Literal["paper"]] = "paper"
    alpha: Positive = 2.0
    share: Share = 1.0
    per: Literal["batch", "sample"] = "batch"
    deepest: int = 2

    def draw(
        self, images: Tensor, *, blocks: int = 1, generator: torch.Generator | None = None
    ) -> Mixture:
        rows = len(images) // blocks
        partner, weight = _pairs(self, rows, generator)
        layer = torch.randint(self.deepest + 1, (1,), generator=generator).repeat(rows)
        return _spread(Mixture(partner, weight, layer=layer), blocks, images.device)


MIXINGS: dict[str, type[Mixing]] = {
    "cutmix": CutMix,
    "fmix": FMix,
    "mixup": Mixup,
    "resizemix": ResizeMix,
}
"""The mixings that [mix] in a run file can name."""


Drawn = Mixup | CutMix | ResizeMix | FMix | ManifoldMixing
"""The mixings that draw pairs of rows in the same way."""


def check_rows(mixing: Mixing | None, rows: int) -> None:
    """Raises ValueError where, of a batch of so many rows, not one would be mixed with another."""
    if not isinstance(mixing, Drawn) or mixing.share == 0:
        return
    least = 2 if mixing.variant == "released" else max(2, int(0.5 / mixing.share) + 1)
    if rows < least:
        raise ValueError(
            f"share={mixing.share:g}: of a batch of {rows} no image would be mixed with another;"
            f" give each process batches of {least} or more (data.batch_size), or share=0"
        )


def _pairs(mixing: Drawn, rows: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
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
    return _between(size, middle - half, middle + half)


def _between(size: int, first: Tensor, end: Tensor) -> Tensor:
    """Which of `size` pixels lie from `first` (rows,) to before `end` (rows,)."""
    pixel = torch.arange(size)
    return (pixel >= first[:, None]) & (pixel < end[:, None])


def _low_frequencies(
    count: int, height: int, width: int, decay: float, generator: torch.Generator | None
) -> Tensor:
    """Noise (count, height, width) whose amplitude falls as frequency^-decay."""
    down, across = torch.fft.fftfreq(height), torch.fft.fftfreq(width)
    frequency = (down[:, None].square() + across.square()).sqrt()
    amplitude = frequency.clamp_min(1 / max(height, width)) ** -decay
    spectrum = torch.randn((count, *amplitude.shape, 2), generator=generator)
    return torch.fft.ifft2(torch.view_as_complex(spectrum) * amplitude).real


def _spread(mix: Mixture, blocks: int, device: torch.device) -> Mixture:
    """The same mixture within each of `blocks` blocks of rows, on `device`."""
    rows = len(mix.partner)
    offset = torch.arange(blocks).repeat_interleave(rows) * rows

    def everywhere(value: Tensor) -> Tensor:
        return value.repeat(blocks, *[1] * (value.ndim - 1)).to(device, non_blocking=True)

    rest = (None if value is None else everywhere(value) for value in mix[2:])
    partner = (mix.partner.repeat(blocks) + offset).to(device, non_blocking=True)
    return Mixture(partner, everywhere(mix.weight), *rest)
