"""What several processes share. On one process, functions give back what they are given."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@torch.no_grad()
def gather(value: Tensor) -> Tensor:
    """Rows (B, ...) of every process, (world * B, ...) in order of rank; no gradient passes."""
    if not dist.is_initialized():
        return value
    rows = value.new_empty(dist.get_world_size() * len(value), *value.shape[1:])
    dist.all_gather_into_tensor(rows, value.contiguous())
    return rows


def gather_objects(value: T) -> list[T]:
    """What every process has, in order of rank, whatever it is; it is copied by pickling."""
    if not dist.is_initialized():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """Gives every process the buffers (running statistics) of the first one."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


@torch.no_grad()
def least(value: Tensor) -> Tensor:
    """The element-wise minimum of a tensor over all processes."""
    if not dist.is_initialized():
        return value
    value = value.clone()
    dist.all_reduce(value, op=dist.ReduceOp.MIN)
    return value


@torch.no_grad()
def most(value: Tensor) -> Tensor:
    """The element-wise maximum of a tensor over all processes."""
    return -least(-value)


def is_first(event: str) -> bool:
    """Whether no other process has asked this of the event before; each asks once.

    False also where the process that keeps count has ended.
    """
    if not dist.is_initialized():
        return True
    try:
        return dist.distributed_c10d._get_default_store().add(event, 1) == 1
    except RuntimeError:
        return False
