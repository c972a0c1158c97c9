"""Losses on feature maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.losses.exact import product


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two feature maps (B, C, ...) of one shape, in float32.

    Gradients reach both sides; detach the one that is only to teach. Romero et al., "FitNets",
    ICLR 2015, https://arxiv.org/abs/1412.6550, equation 3.
    """
    return F.mse_loss(student.float(), teacher.float())


def attention(features: Tensor) -> Tensor:
    """Where a map (B, C, H, W) is active: (B, H * W) of unit norm, float32.

    The mean over channels of squares; a map of zeros stays zero. Zagoruyko and Komodakis, "Paying
    More Attention to Attention", ICLR 2017, https://arxiv.org/abs/1612.03928, section 3.1.
    """
    return F.normalize(features.float().square().mean(1).flatten(1))


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and pixels of the squared difference of two attention maps.

    Both maps are (B, C, H, W) of one height and width; their channels may differ. No gradient
    reaches `teacher`. The maps have unit norm, so the mean falls with the number of pixels.
    """
    return F.mse_loss(attention(student), attention(teacher.detach()))


def attention_distillation(shallow: Tensor, deep: Tensor) -> Tensor:
    """Mean over images and pixels of the squared difference of two maps' shares of activity.

    Of each map (B, C, H, W): the mean over channels of squares, then a softmax over its pixels; the
    deep one is resized to the shallow one's pixels in between. Channels, heights and widths may
    differ. No gradient reaches `deep`. Hou et al., "Learning Lightweight Lane Detection CNNs by
    Self Attention Distillation", ICCV 2019, https://arxiv.org/abs/1908.00821, section 3,
    with the mean in the place of the sum over channels.
    """
    size = shallow.shape[-2:]
    shares = []
    for maps in (shallow, deep.detach()):
        energy = maps.float().square().mean(1, keepdim=True)
        if energy.shape[-2:] != size:
            energy = F.interpolate(energy, size=size, mode="bilinear")
        shares.append(F.softmax(energy.flatten(1), 1))
    return F.mse_loss(*shares)


def neuron_selectivity(student: Tensor, teacher: Tensor) -> Tensor:
    r"""How far two sets of channels lie apart: the squared MMD with the kernel $(x^\top y)^2$.

    Both maps are (B, C, H, W) of one height and width, each channel over its norm; their channels
    may differ. The mean over images. No gradient reaches `teacher`. Huang and Wang, "Like What You
    Like: Knowledge Distill via Neuron Selectivity Transfer", 2017,
    https://arxiv.org/abs/1707.01219.
    """
    own, other = (
        F.normalize(maps.float().flatten(2), dim=2) for maps in (student, teacher.detach())
    )
    return _kernel(own, own) + _kernel(other, other) - 2 * _kernel(own, other)


def _kernel(left: Tensor, right: Tensor) -> Tensor:
    """The mean of the squared products of channels (B, C, N) and (B, D, N).

    Either of all pairs of channels or, the same in another order, of all pairs of pixels: by way
    of the smaller matrices.
    """
    channels = left.shape[1] * right.shape[1]
    if channels <= left.shape[2] ** 2:
        return product(left, right).square().mean()
    pixels = product(left.mT, left.mT) * product(right.mT, right.mT)
    return pixels.sum() / (len(left) * channels)


def gaussian_likelihood(mean: Tensor, variance: Tensor, teacher: Tensor) -> Tensor:
    r"""How unlikely a map is: the mean of $\frac12 [(t - \mu)^2 / \sigma_c^2 + \log \sigma_c^2]$.

    mean, teacher: maps (B, C, H, W) of one shape. variance: (C,), above zero.

    The negative log-likelihood of a Gaussian for each pixel, but for a constant. No gradient
    reaches `teacher`. Ahn et al., "Variational Information Distillation for Knowledge Transfer",
    CVPR 2019, https://arxiv.org/abs/1904.05835, section 2.
    """
    variance = variance.float()[:, None, None]
    gap = teacher.detach().float() - mean.float()
    return (gap.square() / variance).mean() / 2 + variance.log().mean() / 2


def normalised_hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two maps (B, C, H, W) of one shape, but for their magnitudes.

    Each channel of each image has its mean over the pixels subtracted, and is divided by its
    deviation over them; one that is constant is zero. No gradient reaches `teacher`. Liu et al.,
    "Normalized Feature Distillation for Semantic Segmentation", 2022,
    https://arxiv.org/abs/2207.05256.
    """
    return F.mse_loss(_normalised(student), _normalised(teacher.detach()))


def _normalised(maps: Tensor) -> Tensor:
    """Each channel of mean 0 and deviation 1; zero, without gradient, where it is constant in float32."""
    maps = maps.float()
    variance, mean = torch.var_mean(maps, (2, 3), correction=0, keepdim=True)
    varies = variance > 1e-12 * mean.square() + 1e-30
    deviation = torch.where(varies, variance, 1.0).sqrt()
    return torch.where(varies, (maps - mean) / deviation, 0.0)
