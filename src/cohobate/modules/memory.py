"""What a method remembers of every training image."""

import psutil
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cohobate.distributed import gather


class Memory(nn.Module):
    """A row of numbers for every training image, by its id, and the step that it was written in.

    what: of what, for people to read. samples, width: rows, and numbers in each.

    Every process writes what all of them saw, so that the rows are equal on all. They are buffers:
    a checkpoint holds them, what a finished run leaves does not. `size` is theirs, in bytes.
    """

    rows: Tensor
    steps: Tensor

    def __init__(self, what: str, samples: int, width: int, *, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.size = samples * width * dtype.itemsize
        self.note = f"memory of {what}: {samples:,} × {width:,} numbers, {self.size / 1e6:,.1f} MB"
        self.register_buffer("rows", torch.zeros(samples, width, dtype=dtype))
        self.register_buffer("steps", torch.full((samples,), -1, dtype=torch.int64))

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows (B, width) of images, and the steps (B,) that they are of; -1 for none yet."""
        return self.rows.index_select(0, ids), self.steps.index_select(0, ids)

    @torch.no_grad()
    def write(self, ids: Tensor, rows: Tensor, step: Tensor | int) -> None:
        """Puts rows (B, width) in the places of `ids` (B,); of an image that is there twice, the later."""
        ids, rows = gather(ids), gather(rows.detach().to(self.rows.dtype))
        place = torch.arange(len(ids), device=ids.device)
        latest = ((ids[:, None] == ids) * place).amax(1)
        self.rows.index_copy_(0, ids, rows.index_select(0, latest))
        self.steps.index_copy_(0, ids, torch.zeros_like(ids) + step)


def check_memories(method: nn.Module) -> None:
    """Raises ValueError where the memories of a method do not fit into this machine's, all together.

    method: built on the meta device, where they take no room yet.
    """
    memories = [part for part in method.modules() if isinstance(part, Memory)]
    size, free = sum(each.size for each in memories), psutil.virtual_memory().available
    if size > free:
        raise ValueError(
            f"the {'; '.join(each.note for each in memories)}: {size / 1e6:,.1f} MB do not fit,"
            f" {free / 1e6:,.1f} MB are free; choose another method, fewer images (data.fraction),"
            " or a machine with more memory"
        )


def memory_keys(module: nn.Module) -> set[str]:
    """The keys of `module.state_dict()` that belong to a `Memory`."""
    return {
        f"{name}.{key}" if name else key
        for name, part in module.named_modules()
        if isinstance(part, Memory)
        for key in ("rows", "steps")
    }


def keep_from_broadcast(module: nn.Module) -> None:
    """Tells DDP not to send memories around before every step: they are equal already."""
    if keys := memory_keys(module):
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, sorted(keys))
