"""Where networks look: attention maps of their stages, and Grad-CAM."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cohobate.analysis.heads import SELF_TEACHER, STUDENT, TEACHER, teacher_of
from cohobate.analysis.pictures import overlay, picture
from cohobate.core import Method
from cohobate.models import Classifier
from cohobate.modules import PyramidTeacher

IMAGES = 4
SIDE = 96


@dataclass(frozen=True)
class Look:
    """Where a network looks on an image.

    share: the probability that it gives to the image's class. pictures: the attention of its stages,
    shallow to deep. cam: Grad-CAM; empty where there is none.
    """

    network: str
    share: float
    pictures: list[str]
    cam: str


@dataclass(frozen=True)
class Looked:
    """Where the networks of a run look on one image. row: of the split."""

    row: int
    target: int
    picture: str
    looks: list[Look]


def attention(maps: Tensor) -> Tensor:
    """Where a map (B, C, H, W) is active, (B, H, W): the mean of squares over channels, at most 1.

    Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017,
    https://arxiv.org/abs/1612.03928, section 3.1; here divided by the largest of each image.
    """
    return _scaled(maps.float().square().mean(1))


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """What in a map speaks for a class, (B, H, W), at most 1: Grad-CAM.

    Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2; here divided
    by the largest of each image. maps: (B, C, H, W). gradient: of the logit of the class, likewise.
    """
    weight = gradient.float().mean((2, 3), keepdim=True)
    return _scaled(F.relu((weight * maps.float()).sum(1)))


def look(
    network: Classifier, images: Tensor, targets: Tensor
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Logits, the attention of every stage, and Grad-CAM for the classes `targets` (B,).

    Grad-CAM is of the deepest stage that has a gradient: the last block of a transformer that reads
    its class token alone has none at the patches. None where timm names the stages of no module.
    """
    with torch.enable_grad(), _captured(network) as outputs:
        trace = network.trace(images.clone().requires_grad_())
        score = trace.logits.gather(1, targets[:, None]).sum()
        gradients = torch.autograd.grad(score, list(outputs.values()), allow_unused=True)
    cam = None
    for (place, output), gradient in zip(outputs.items(), gradients):
        like = trace.stages[place]
        slope = None if gradient is None else as_map(gradient, like)
        if slope is not None and bool(slope.any()):
            cam = grad_cam(as_map(output.detach(), like), slope)
    return trace.logits.detach(), [attention(f.detach()) for f in trace.stages], cam


def look_up(
    network: Classifier, pyramid: PyramidTeacher, images: Tensor, targets: Tensor
) -> tuple[Tensor, list[Tensor], Tensor]:
    """The same of FRSKD's self-teacher, on its refined maps, rectified as its losses and its classifier do.

    That reads the mean of the last one, whose pixels thus have equal shares in its gradient.
    """
    with torch.enable_grad():
        trace = pyramid(network.trace(images.clone().requires_grad_()).stages)
        score = trace.logits.gather(1, targets[:, None]).sum()
        (slope,) = torch.autograd.grad(score, trace.embedding)
    maps = [F.relu(features.detach()) for features in trace.stages]
    gradient = slope[:, :, None, None].expand_as(maps[-1])
    return trace.logits.detach(), list(map(attention, maps)), grad_cam(maps[-1], gradient)


def looked(method: Method, images: Tensor, targets: Tensor, rows: Sequence[int]) -> list[Looked]:
    """Where the network of a run, its self-teacher and its teacher look on images, in eval mode.

    images: (B, 3, H, W) in [0, 1]. targets: (B,). rows: their places in the split. Networks that
    timm cannot tap are left out; an empty list where that is all of them.
    """
    method.eval()
    pyramid: Any = getattr(method, "self_teacher", None)
    seen = {}
    if method.model.stages:
        seen[STUDENT] = look(method.model, images, targets)
    if isinstance(pyramid, PyramidTeacher):
        seen[SELF_TEACHER] = look_up(method.model, pyramid, images, targets)
    teacher = teacher_of(method)
    if teacher is not None and teacher.stages:
        seen[TEACHER] = look(teacher, images, targets)
    if not seen:
        return []
    return [
        Looked(
            row=rows[place],
            target=int(targets[place]),
            picture=picture(image, SIDE),
            looks=[
                Look(
                    network=name,
                    share=float(logits[place].softmax(0)[targets[place]]),
                    pictures=[overlay(image, heat[place], SIDE) for heat in stages],
                    cam="" if cam is None else overlay(image, cam[place], SIDE),
                )
                for name, (logits, stages, cam) in seen.items()
            ],
        )
        for place, image in enumerate(images)
    ]


def as_map(output: Tensor, like: Tensor) -> Tensor:
    """What a module gives, as a map (B, C, H, W) of the height and width of `like`.

    Tokens (B, N, C) are laid out row by row, those before the patches left away; channels may come last.
    """
    channels, height, width = like.shape[1:]
    if output.ndim == 3:
        output = output[:, -height * width :].unflatten(1, (height, width))
    return output if output.shape[1] == channels else output.permute(0, 3, 1, 2)


@contextmanager
def _captured(network: Classifier) -> Iterator[dict[int, Tensor]]:
    """What the modules of the stages give while this lasts, by the stage's place, shallow to deep."""
    outputs: dict[int, Tensor] = {}
    modules = dict(network.net.named_modules())

    def keep(place: int, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[place] = output

    handles = [
        modules[stage.module].register_forward_hook(
            lambda _, __, output, at=place: keep(at, output)
        )
        for place, stage in enumerate(network.stages)
        if stage.module in modules
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _scaled(heat: Tensor) -> Tensor:
    """Each of the maps (B, H, W) divided by its largest value; zeros stay."""
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
