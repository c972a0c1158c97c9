"""What a method costs, counted without computing anything."""

from copy import deepcopy
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from cohobate.core import Batch, Method, Progress


def cost(method: Method, size: int) -> dict[str, Any]:
    """Parameters deployed and trained; multiply-adds of one image deployed, and of one in training.

    Counted on the meta device: nothing is computed.
    """
    ghost = deepcopy(method).to("meta")
    rows = 4 * (1 + method.companions)
    views = (method.views,) if method.views > 1 else ()
    images = torch.empty(rows, *views, 3, size, size, device="meta")
    ids = torch.empty(rows, dtype=torch.long, device="meta")
    batch = Batch(images, ids, ids)
    now = torch.zeros((), device="meta")
    with FlopCounterMode(display=False) as deployed, torch.no_grad():
        ghost.model.eval()(images.flatten(0, 1)[:1] if views else images[:1])
    with FlopCounterMode(display=False) as trained:
        ghost.train()(ghost.mixed(batch), Progress(now, 1, now, 1))
    return {
        "parameters": sum(p.numel() for p in method.model.net.parameters()),
        "trained_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "macs": deployed.get_total_flops() // 2,
        "training_macs": trained.get_total_flops() // 2 // 4,
    }
