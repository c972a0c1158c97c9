"""What a method costs, counted without computing anything."""

from copy import deepcopy
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from cohobate.core import Batch, Losses, Method, Progress, counted
from cohobate.losses import total

ROWS = 4


def cost(method: Method, size: int) -> dict[str, Any]:
    """What training and deploying cost, for images of `size` pixels.

    parameters, trained_parameters: of the network that is deployed; of all that is trained.
    macs, training_macs: multiply-adds of one image, deployed; and of a training step's forward
        passes, for each image of the batch.
    step_macs, supervised_macs: of a training step, there and back and with what the teacher does, for
        each image of the batch; and of one of `supervised` on the same network.
    training_bytes: what is kept from the forward passes for the backward one, in float32, for each
        image of the batch; weights, gradients and the optimiser come on top.

    Counted on the meta device: nothing is computed.
    """
    ghost, batch = ghost_of(method, size)
    with Shapes(), FlopCounterMode(display=False) as deployed, torch.no_grad():
        ghost.model.eval()(batch.images.flatten(0, -4)[:1])
    kept = Kept(ghost)
    with Shapes(), FlopCounterMode(display=False) as trained, kept:
        losses = _losses(ghost, batch)
    with Shapes(), FlopCounterMode(display=False) as back:
        total(losses.values()).backward()
    forward = trained.get_total_flops()
    return {
        "parameters": sum(p.numel() for p in method.model.parameters()),
        "trained_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "macs": deployed.get_total_flops() // 2,
        "training_macs": forward // 2 // ROWS,
        "step_macs": (forward + back.get_total_flops()) // 2 // ROWS,
        "supervised_macs": _supervised_macs(method, size),
        "training_bytes": kept.bytes // ROWS,
    }


def _supervised_macs(method: Method, size: int) -> int:
    """Multiply-adds of a step that trains the network alone, there and back, for each image."""
    network: Any = deepcopy(method.model).to("meta").train()
    if not any(p.requires_grad for p in network.parameters()):
        network.requires_grad_(True)
    images = torch.empty(ROWS, 3, size, size, device="meta")
    targets = move_data_to_device(network.noise_targets(ROWS, size, torch.Generator()), "meta")
    ids = torch.zeros(ROWS, dtype=torch.int64, device="meta")
    with Shapes(), FlopCounterMode(display=False) as counted:
        total(network.losses(Batch(images, targets, ids)).values()).backward()
    return counted.get_total_flops() // 2 // ROWS


def held_bytes(method: Method, costs: dict[str, Any], rows: int) -> int:
    """What a step of so many images holds, estimated, in float32: weights, gradients, momentum,
    buffers, and the maps that the backward pass wants, of which `costs` tells."""
    numbers = sum(t.numel() * t.element_size() for t in (*method.parameters(), *method.buffers()))
    trained = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    return numbers + 2 * trained + rows * costs["training_bytes"]


def too_large(held: int, rows: int, processes: int, free: int) -> str:
    """Why a step of `rows` images on each of some processes cannot be made; "" where it may be.

    held: bytes, by each of them. free: bytes, for all of them. Only what even half of the estimate is
    too large for is refused: half precision and a compiled step hold less than that.
    """
    if processes * held / 2 <= free:
        return ""
    return (
        f"a step of {counted(processes * rows, 'image')} would hold about"
        f" {processes * held / 1e9:,.1f} GB, by what it computes, and {free / 1e9:,.1f} GB are free"
    )


def example(method: Method, size: int, anchors: int, device: torch.device | str) -> Batch:
    """A batch as the method wants it, of noise, mixed."""
    rows = anchors * (1 + method.companions)
    views = (method.views,) if method.views > 1 else ()
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(rows, *views, 3, size, size, generator=draw)
    targets = move_data_to_device(method.model.noise_targets(rows, size, draw), device)
    ids = torch.arange(rows, device=device)
    return method.mixed(Batch(images.to(device), targets, ids), draw)


def ghost_of(method: Method, size: int, anchors: int = ROWS) -> tuple[Method, Batch]:
    """The method and a batch on the meta device."""
    return deepcopy(method).to("meta"), example(method, size, anchors, "meta")


def _losses(ghost: Method, batch: Batch) -> Losses:
    now = torch.zeros((), device="meta")
    return ghost.train()(batch, Progress(now, 1, now, 1))


class Shapes(TorchDispatchMode):
    """Batch norms on the meta device by their shapes alone, while it is entered.

    PyTorch spells them out operation by operation there, which takes most of the time of counting.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._native_batch_norm_legit.default and args[0].is_meta:
            input, training = args[0], args[5]
            mean, scale = (
                input.new_empty(input.shape[1] * training, dtype=torch.float32) for _ in range(2)
            )
            return torch.empty_like(input), mean, scale
        if func is torch.ops.aten.native_batch_norm_backward.default and args[0].is_meta:
            input, weight, wanted = args[1], args[2], args[-1]
            vector = input.new_empty(input.shape[1]) if weight is None else weight
            like = (input, vector, vector)
            return tuple(torch.empty_like(t) if w else None for t, w in zip(like, wanted))
        return func(*args, **(kwargs or {}))


class Kept(saved_tensors_hooks):
    """Counts the bytes of what autograd keeps while it is entered, the module's own weights aside."""

    def __init__(self, module: nn.Module):
        own = (*module.parameters(), *module.buffers())
        self.seen: dict[int, Tensor] = {_storage(tensor): tensor for tensor in own}
        self.bytes = 0
        super().__init__(self._count, lambda tensor: tensor)

    def _count(self, tensor: Tensor) -> Tensor:
        if _storage(tensor) not in self.seen:
            self.seen[_storage(tensor)] = tensor  # held, so that no other gets its number
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
