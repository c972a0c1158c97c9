"""The networks that can be named, and facts about one of them."""

from fnmatch import fnmatch
from typing import Any, NamedTuple

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from cohobate.core import unknown
from cohobate.models import cifar
from cohobate.models.trace import Stage, read_stages

assert cifar, "imported so that the cifar_ networks are among timm's"


class Facts(NamedTuple):
    """What a network is: its stages, parameters, and multiply-adds of one image of `size` pixels."""

    stages: tuple[Stage, ...]
    parameters: int
    macs: int
    size: int


def find(pattern: str) -> list[str]:
    """The names that match a shell pattern, or that hold a word; ValueError where there are none."""
    names = timm.list_models()
    if pattern in names:
        return [pattern]
    found = [name for name in names if fnmatch(name, pattern)]
    found = found or [name for name in names if pattern in name]
    if not found:
        raise unknown("model", pattern, names, listing="cohobate models")
    return found


def facts(name: str) -> Facts:
    """Facts about a network as timm makes it, counted on the meta device."""
    with torch.device("meta"):
        net: Any = timm.create_model(name).eval()
    size = net.pretrained_cfg["input_size"][-1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, 3, size, size, device="meta"))
    parameters = sum(p.numel() for p in net.parameters())
    return Facts(read_stages(net), parameters, counter.get_total_flops() // 2, size)
