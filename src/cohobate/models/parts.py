"""A network as parts that are applied one after the other, so that a method can act between them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cohobate.models.classifier import Classifier, through
from cohobate.models.trace import Stage

Parts = tuple[tuple[str, ...], ...]
"""The names of the modules of each part, in the order in which they are applied."""


def parts(model: Classifier) -> Parts:
    """The parts of a network: what leads to each of its stages, and last from these to its head.

    One after the other, on normalised images, they give what timm's `forward_head` makes logits of.
    Raises ValueError where they do not, which is found out by comparing the logits.
    """
    found = _found(model)
    if not found:
        raise ValueError(
            f"model {model.spec['arch']!r} is no chain of stages, between which this method acts:"
            " choose one that is, such as a ResNet or a ConvNeXt"
        )
    return found


def apply(net: Any, names: Sequence[str], values: Tensor) -> Tensor:
    """One part of a network."""
    for name in names:
        values = net.get_submodule(name)(values)
    return values


@torch.no_grad()
def _found(model: Classifier) -> Parts | None:
    """The parts, where they give the logits of the network; values are compared on the processor."""
    with torch.device("cpu"):
        twin = Classifier(num_classes=2, **model.spec).eval()
        images = torch.linspace(0, 1, 6 * twin.size**2).view(2, 3, twin.size, twin.size)
    if not twin.stages:
        return None
    first, *others = twin.stages
    try:
        leading = [tuple(through(twin.net, first))]
        leading += [_between(twin.net, a, b) for a, b in zip(twin.stages, others)]
        rest = _after(twin.net, twin.stages[-1].module)
    except AttributeError:  # timm names a module that is not there
        return None
    # What follows the last stage belongs to the features or to the head; it differs among networks.
    candidates = ((*leading, tuple(rest[:count])) for count in range(len(rest) + 1))
    return next((found for found in candidates if _agree(twin, found, images)), None)


def _agree(model: Classifier, found: Parts, images: Tensor) -> bool:
    values, expected = model.normalise(images), model(images)
    try:
        for names in found:
            values = apply(model.net, names, values)
        logits = model.net.forward_head(values)
    except (RuntimeError, ValueError, AttributeError, TypeError, IndexError, AssertionError):
        return False
    same = logits.shape == expected.shape
    return same and bool((logits - expected).norm() <= 1e-3 * expected.norm())


def _between(net: Any, stage: Stage, later: Stage) -> tuple[str, ...]:
    """The names of the modules after one stage, up to and including that of a later one."""
    names, leading = [], through(net, later)
    for name in _after(net, stage.module):
        within = [each for each in leading if f"{each}.".startswith(f"{name}.")]
        names += within or [name]
        if f"{later.module}.".startswith(f"{name}."):
            break
    return tuple(names)


def _after(net: Any, module: str) -> list[str]:
    """The names of the modules registered after one, the innermost first."""
    names = []
    *path, last = module.split(".")
    while True:
        prefix = "".join(f"{name}." for name in path)
        children = [child for child, _ in net.get_submodule(".".join(path)).named_children()]
        names += [prefix + later for later in children[children.index(last) + 1 :]]
        if not path:
            return names
        *path, last = path
