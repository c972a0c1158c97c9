"""Augmentations that choose among the same operations: which, how often and how strongly."""

from typing import NamedTuple

import torch
from torch import Tensor

from cohobate.data.operations import KIND, SIGNED, operate

CHOICES = KIND["equalize"] + 1
"""RandAugment and TrivialAugment choose among all operations but the last, `invert`."""


class Strengths(NamedTuple):
    """What the operations do at full strength; at none they change nothing, but for posterizing.

    shear: the tangent. translate: pixels. rotate: degrees. enhance: how far the factor of
        brightness, colour, contrast and sharpness is from 1.
    most_bits, least_bits: what posterizing keeps at no and at full strength.
    """

    shear: float
    translate: float
    rotate: float
    enhance: float
    most_bits: int
    least_bits: int

    def amounts(self, kinds: Tensor, strength: Tensor | float, sign: Tensor) -> Tensor:
        """The amounts (B,) for `operate`, of a strength from 0 to 1; negative where `sign` < 0.5."""
        enhanced = [self.enhance] * 4
        none = [0.0] * 10 + [self.most_bits, 1.0, 0.0, 0.0, 0.0]
        moved = [self.shear, self.shear, self.translate, self.translate, self.rotate]
        full = [0.0, *moved, *enhanced, self.least_bits, 0.0, 0.0, 0.0, 0.0]
        start, end = torch.tensor([none, full]).to(kinds.device, non_blocking=True)[:, kinds]
        amount = start + (end - start) * strength
        amount = torch.where(kinds == KIND["posterize"], amount.round(), amount)
        first, last = SIGNED
        turned = (kinds >= first) & (kinds <= last) & (sign < 0.5)
        return torch.where(turned, -amount, amount)


class AutoAugment:
    """One of 25 pairs of operations that were found on CIFAR-10, each done with its own chance.

    Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data", CVPR 2019,
    https://arxiv.org/abs/1805.09501, table 7.
    """

    draws = 5

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        strengths = Strengths(0.3, 150 / 331 * images.shape[-1], 30, 0.9, 8, 4)
        policy = (draws[:, 0] * len(FOUND)).long()
        for number, pair in enumerate(draws[:, 1:].split(2, 1)):
            table = torch.tensor([row[number] for row in ROWS]).to(images.device)
            kinds, chances, levels = table[policy].unbind(1)
            done, sign = pair.unbind(1)
            kinds = torch.where(done < chances, kinds, KIND["identity"]).long()
            images = operate(images, kinds, strengths.amounts(kinds, levels / 9, sign))
        return images


class RandAugment:
    """Two operations, each drawn from all, at three tenths of their full strength.

    Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
    NeurIPS 2020, https://arxiv.org/abs/1909.13719, with torchvision's defaults.
    """

    count = 2
    strength = 9 / 30
    draws = 2 * count

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        strengths = Strengths(0.3, 150 / 331 * images.shape[-1], 30, 0.9, 8, 4)
        for pair in draws.split(2, 1):
            chosen, sign = pair.unbind(1)
            kinds = (chosen * CHOICES).long()
            images = operate(images, kinds, strengths.amounts(kinds, self.strength, sign))
        return images


class TrivialAugment:
    """One operation, drawn from all, at a strength that is drawn too, in the wide range.

    Müller and Hutter, "TrivialAugment: Tuning-Free Yet State-of-the-Art Data Augmentation", ICCV
    2021, https://arxiv.org/abs/2103.10158. Whatever the size, at most 32 pixels are moved.
    """

    levels = 31
    draws = 3

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        chosen, level, sign = draws.unbind(1)
        kinds = (chosen * CHOICES).long()
        strength = (level * self.levels).floor() / (self.levels - 1)
        strengths = Strengths(0.99, 32, 135, 0.99, 8, 2)
        return operate(images, kinds, strengths.amounts(kinds, strength, sign))


class AugMix:
    """The image, averaged with three chains of up to three operations on it.

    Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
    Uncertainty", ICLR 2020, https://arxiv.org/abs/1912.02781, algorithm 1 without its loss, which
    is that of `method.name=augmix_jsd`. Severity 3; Beta(1, 1) and Dirichlet(1, 1, 1) draw the weights.
    Left out are, as in the paper, the operations that robustness is measured by (brightness, colour,
    contrast, sharpness).
    """

    chains = depth = 3
    severity = (0.01, 0.3)
    draws = 1 + 2 * chains + 3 * chains * depth

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        parts = [1, self.chains, self.chains, 3 * self.chains * self.depth]
        share, weights, depths, steps = draws.split(parts, 1)
        weights = -torch.log1p(-weights)  # as many exponential draws, divided by their sum
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-9)
        depths = (depths * self.depth).floor().t().flatten()  # of all first chains, all second, …
        strengths = Strengths(0.3, images.shape[-1] / 3, 30, 0.0, 4, 0)
        changed = images.repeat(self.chains, 1, 1, 1)
        steps = steps.view(-1, self.chains, self.depth, 3).transpose(0, 1).flatten(0, 1)
        for number in range(self.depth):
            chosen, level, sign = steps[:, number].unbind(1)
            kinds = torch.tensor(GEOMETRY).to(images.device)[(chosen * len(GEOMETRY)).long()]
            kinds = torch.where(number <= depths, kinds, KIND["identity"])
            least, most = self.severity
            amounts = strengths.amounts(kinds, least + (most - least) * level, sign)
            changed = operate(changed, kinds, amounts)
        chains = changed.view(self.chains, *images.shape)
        mixed = (weights.t()[..., None, None, None] * chains).sum(0)
        share = share[..., None, None]
        return ((1 - share) * images + share * mixed).round().to(images.dtype)


GEOMETRY = tuple(
    KIND[name]
    for name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    + ("posterize", "solarize", "auto_contrast", "equalize")
)
"""The operations of AugMix."""

FOUND: tuple[str, ...] = (
    "invert 0.1 0, contrast 0.2 6",
    "rotate 0.7 2, translate_x 0.3 9",
    "sharpness 0.8 1, sharpness 0.9 3",
    "shear_y 0.5 8, translate_y 0.7 9",
    "auto_contrast 0.5 0, equalize 0.9 0",
    "shear_y 0.2 7, posterize 0.3 7",
    "color 0.4 3, brightness 0.6 7",
    "sharpness 0.3 9, brightness 0.7 9",
    "equalize 0.6 0, equalize 0.5 0",
    "contrast 0.6 7, sharpness 0.6 5",
    "color 0.7 7, translate_x 0.5 8",
    "equalize 0.3 0, auto_contrast 0.4 0",
    "translate_y 0.4 3, sharpness 0.2 6",
    "brightness 0.9 6, color 0.2 8",
    "solarize 0.5 2, invert 0.0 0",
    "equalize 0.2 0, auto_contrast 0.6 0",
    "equalize 0.2 0, equalize 0.6 0",
    "color 0.9 9, equalize 0.6 0",
    "auto_contrast 0.8 0, solarize 0.2 8",
    "brightness 0.1 3, color 0.7 0",
    "solarize 0.4 5, auto_contrast 0.9 0",
    "translate_y 0.9 9, translate_y 0.7 9",
    "auto_contrast 0.9 0, solarize 0.8 3",
    "equalize 0.8 0, invert 0.1 0",
    "translate_y 0.7 9, auto_contrast 0.9 0",
)
"""The policy of AutoAugment: operation, chance and level from 0 to 9 of the first, of the second."""


def _row(line: str) -> list[list[float]]:
    words = (part.split() for part in line.split(", "))
    return [[KIND[name], float(chance), float(level)] for name, chance, level in words]


ROWS = [_row(line) for line in FOUND]
