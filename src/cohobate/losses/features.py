"""Losses on feature maps."""

import torch.nn.functional as F
from torch import Tensor


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
