"""Convolutions from a map to the factors that are left of it, and back."""

from itertools import pairwise

from torch import Tensor, nn


class Paraphraser(nn.Module):
    """An autoencoder of maps (B, C, H, W) whose factors have `rate` times as many channels."""

    def __init__(self, channels: int, rate: float):
        super().__init__()
        self.width = max(1, round(rate * channels))
        self.encoder = convolutions(channels, channels, self.width, self.width)
        self.decoder = convolutions(self.width, self.width, channels, channels)
        self.note = f"paraphraser {channels} → {self.width} → {channels} channels"

    def forward(self, maps: Tensor) -> Tensor:
        """The maps once more, out of their factors."""
        return self.decoder(self.encoder(maps))


def convolutions(*widths: int) -> nn.Sequential:
    """3 × 3 convolutions from each width to the next, each with a leaky ReLU."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)
