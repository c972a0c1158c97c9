"""What a method costs, counted without computing anything."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from cohobate.core import Batch, Losses, Method, Progress
from cohobate.losses import total

ROWS = 4


def cost(method: Method, size: int) -> dict[str, Any]:
    """What training and deploying cost, for images of `size` pixels.

    parameters, trained_parameters: of the network that is deployed; of all that is trained.
    macs, training_macs: multiply-adds of one image, deployed; and of a training step's forward
        passes, for each image of the batch.
    training_bytes: what is kept from the forward passes for the backward one, in float32, for each
        image of the batch; weights, gradients and the optimiser come on top.

    Counted on the meta device: nothing is computed.
    """
    ghost, batch = _ghost(method, size)
    with FlopCounterMode(display=False) as deployed, torch.no_grad():
        ghost.model.eval()(batch.images.flatten(0, -4)[:1])
    kept = Kept(ghost)
    with FlopCounterMode(display=False) as trained, kept:
        _losses(ghost, batch)
    return {
        "parameters": sum(p.numel() for p in method.model.parameters()),
        "trained_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "macs": deployed.get_total_flops() // 2,
        "training_macs": trained.get_total_flops() // 2 // ROWS,
        "training_bytes": kept.bytes // ROWS,
    }


def step_flops(method: Method, size: int) -> float:
    """Floating-point operations of a training step, there and back, for each image of the batch."""
    ghost, batch = _ghost(method, size)
    with FlopCounterMode(display=False) as counted:
        total(_losses(ghost, batch).values()).backward()
    return counted.get_total_flops() / ROWS


def taught(method: Method, size: int) -> dict[str, list[str]]:
    """Of every loss, the parts of the method that its gradient reaches: children, by name.

    Only those count that are trained at all; what is missing lies behind a stop-gradient, or takes
    no part in the loss. Some released codes have a loss that teaches nothing.
    """
    ghost, batch = _ghost(method, size)
    losses = _losses(ghost, batch)
    parts = trained_parts(ghost)
    found = {}
    for name, loss in losses.items():
        everything = [p for parameters in parts.values() for p in parameters]
        if not loss.requires_grad:
            found[name] = []
            continue
        grads = iter(torch.autograd.grad(loss, everything, retain_graph=True, allow_unused=True))
        reached = {part: [next(grads) for _ in own] for part, own in parts.items()}
        found[name] = [part for part, own in reached.items() if any(g is not None for g in own)]
    return found


def trained_parts(method: Method) -> dict[str, list[nn.Parameter]]:
    """The parameters of a method that are trained, by the child that holds them."""
    found = dict[str, list[nn.Parameter]]()
    seen = set[nn.Parameter]()
    for name, part in method.named_children():
        own = [p for p in part.parameters() if p.requires_grad and p not in seen]
        if own:
            found[name] = own
            seen.update(own)
    return found


def held_bytes(method: Method, size: int, batch_size: int) -> int:
    """What a step holds, estimated: weights, gradients, momentum, buffers, and the maps that the
    backward pass wants, all in float32."""
    numbers = sum(t.numel() * t.element_size() for t in (*method.parameters(), *method.buffers()))
    trained = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    ghost, batch = _ghost(method, size, batch_size)
    with (kept := Kept(ghost)):
        _losses(ghost, batch)
    return numbers + 2 * trained + kept.bytes


def example(method: Method, size: int, anchors: int, device: torch.device | str) -> Batch:
    """A batch as the method wants it, of noise, mixed."""
    rows = anchors * (1 + method.companions)
    views = (method.views,) if method.views > 1 else ()
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(rows, *views, 3, size, size, generator=draw)
    targets = method.model.noise_targets(rows, size, draw)
    ids = torch.arange(rows, device=device)
    return method.mixed(Batch(images.to(device), targets.to(device), ids), draw)


def _ghost(method: Method, size: int, anchors: int = ROWS) -> tuple[Method, Batch]:
    """The method and a batch on the meta device."""
    return deepcopy(method).to("meta"), example(method, size, anchors, "meta")


def _losses(ghost: Method, batch: Batch) -> Losses:
    now = torch.zeros((), device="meta")
    return ghost.train()(batch, Progress(now, 1, now, 1))


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
