"""What every head of a method says: the network itself, its exits, its self-teacher, its teacher."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cohobate.core import Batch, Method
from cohobate.methods.mixskd import SelfTeacher
from cohobate.models import Classifier, Trace
from cohobate.modules import EMA, AuxiliaryHeads, Exits, Frozen, PyramidTeacher
from cohobate.modules.rotation import ROTATIONS, rotate

STUDENT, SELF_TEACHER, TEACHER = "network", "self-teacher", "teacher"
"""What the network that is deployed is called, and those that teach it."""
LAST = "last step"
"""What the network is called whose maps heads read, where an average of its weights is deployed."""


@dataclass(frozen=True)
class HeadScore:
    """accuracy: of the classes of upright images. joint: of class and rotation, over all four
    rotations of them; None where the head tells no rotations."""

    name: str
    accuracy: float
    joint: float | None = None


def teacher_of(method: Method) -> Classifier | None:
    """The network that teaches, frozen or averaged; None where the method has none."""
    part: Any = getattr(method, "teacher", None)
    network = part.net if isinstance(part, Frozen | EMA) else None
    if isinstance(network, Method):  # a teacher with heads of its own
        network = network.model
    return network if isinstance(network, Classifier) else None


def is_read(method: Method) -> bool:
    """Whether heads read the maps of the method's network: of no other weights do they know."""
    return bool(_parts(method))


def has_more(method: Method) -> bool:
    """Whether a method has more heads than its network's."""
    return bool(is_read(method) or len(getattr(method, "peers", ())) or teacher_of(method))


def traced(method: Method) -> dict[str, Callable[[Tensor], Trace]]:
    """Whatever of a method has maps of stages, by name: from images (B, 3, H, W) to a trace.

    Networks that timm cannot tap are not among them.
    """
    networks = {STUDENT: method.model, TEACHER: teacher_of(method)}
    found = {name: each.trace for name, each in networks.items() if each and each.stages}
    pyramid: Any = getattr(method, "self_teacher", None)
    if isinstance(pyramid, PyramidTeacher):
        found[SELF_TEACHER] = lambda images: pyramid(method.model.trace(images).stages)
    order = (STUDENT, SELF_TEACHER, TEACHER)
    return {name: found[name] for name in order if name in found}


def say(method: Method, images: Tensor) -> dict[str, Tensor]:
    """The class logits (B, C) of every head, by name, of images (B, 3, H, W).

    A head that tells class and rotation at once is asked for the classes of what is not turned.
    """
    parts = _parts(method)
    said = _say(parts, method.model.trace(images)) if parts else {STUDENT: method.model(images)}
    for place, peer in enumerate(getattr(method, "peers", ()), start=1):
        said[f"peer {place}"] = peer(images)
    if teacher := teacher_of(method):
        said[TEACHER] = teacher(images)
    return said


def _say(parts: Sequence[nn.Module], trace: Trace) -> dict[str, Tensor]:
    """What heads say that read the maps of the network's stages, and the network itself."""
    early: dict[str, Tensor] = {}
    late: dict[str, Tensor] = {}
    maps: list[Tensor] = []
    for part in parts:
        if isinstance(part, Exits):
            logits, maps = part(trace.stages)
            early |= {f"exit {place}": each for place, each in enumerate(logits, start=1)}
        elif isinstance(part, AuxiliaryHeads):
            for place, joint in enumerate(part(trace.stages), start=1):
                early[f"head {place}"] = joint.unflatten(1, (-1, ROTATIONS))[..., 0]
        elif isinstance(part, PyramidTeacher):
            late[SELF_TEACHER] = part(trace.stages).logits
        else:
            late[SELF_TEACHER] = part([*maps, trace.stages[-1]])
    return {**early, STUDENT: trace.logits, **late}


def say_joint(method: Method, images: Tensor) -> dict[str, Tensor]:
    """The joint logits (4B, 4C) of the heads that tell class and rotation, of images turned four ways."""
    heads = [part for part in _parts(method) if isinstance(part, AuxiliaryHeads)]
    if not heads:
        return {}
    joint = heads[0](method.model.trace(rotate(images)).stages)
    return {f"head {place}": logits for place, logits in enumerate(joint, start=1)}


@torch.no_grad()
def accuracies(method: Method, batches: Iterable[Batch]) -> list[HeadScore]:
    """How often each head is right, in eval mode; in the order in which `say` has them."""
    method.eval()
    right: dict[str, int] = defaultdict(int)
    joint: dict[str, int] = defaultdict(int)
    count = 0
    for batch in batches:
        count += len(batch.targets)
        for name, logits in say(method, batch.images).items():
            right[name] += int((logits.argmax(1) == batch.targets).sum())
        turned = torch.arange(ROTATIONS, device=batch.targets.device)
        label = (ROTATIONS * batch.targets[:, None] + turned).flatten()
        for name, logits in say_joint(method, batch.images).items():
            joint[name] += int((logits.argmax(1) == label).sum())
    return [
        HeadScore(name, hits / count, joint[name] / (ROTATIONS * count) if name in joint else None)
        for name, hits in right.items()
    ]


def _parts(method: Method) -> list[nn.Module]:
    """The heads that read the maps of the network's stages, in the order in which they are asked."""
    heads: Any = getattr(method, "heads", None)
    if isinstance(heads, nn.ModuleList):  # of several networks, the deployed one first
        heads = heads[0]
    given = (getattr(method, "exits", None), heads, getattr(method, "self_teacher", None))
    kinds = (Exits, AuxiliaryHeads, PyramidTeacher, SelfTeacher)
    return [part for part in given if isinstance(part, kinds)]
