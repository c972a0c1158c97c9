"""Batches that processes make of files, some ahead of the one that is wanted."""

import signal
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cohobate.core import cores
from cohobate.data.images import SKIP, BadImage

Request = tuple[int, list[int]]
"""An epoch, and rows of the data."""


class Workers:
    """What `made[request]` gives, for one request after another, on the device.

    made: gives a tensor, several in a tuple, with numbers among them, or the `BadImage` that it met:
        an error that is raised in a worker would arrive as a traceback.
    workers: processes; None means one a core, at most 8.
    lasting: whether they stay from epoch to epoch.
    """

    def __init__(self, made: Dataset, device: torch.device, workers: int | None, *, lasting: bool):
        workers = processes(workers)
        self.device = device
        self.requests: list[Request] = []  # filled anew for every epoch
        self.loader = DataLoader(
            made,
            sampler=self.requests,
            batch_size=None,
            num_workers=workers,
            persistent_workers=lasting and workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=leave_signals if workers else None,
            generator=torch.Generator(),  # else every epoch would draw from the global one
        )

    def batches(self, epoch: int, rows: Iterable[Tensor]) -> Iterator[tuple[Tensor, Any]]:
        """For each (B,) of `rows`: itself on the device, and what was made of it. Raises BadImage."""
        rows = list(rows)
        self.requests[:] = [(epoch, row.tolist()) for row in rows]
        for row, made in zip(rows, self.loader):
            if isinstance(made, BadImage):
                raise BadImage(made.path, f"{made.reason}; {SKIP}")
            yield row.to(self.device, non_blocking=True), self._moved(made)

    def _moved(self, made: Any) -> Any:
        if isinstance(made, Tensor):
            return made.to(self.device, non_blocking=True)
        return tuple(map(self._moved, made)) if isinstance(made, tuple | list) else made


def processes(workers: int | None) -> int:
    """How many processes read files: as many as were asked for, else one a core, at most 8."""
    return min(cores(), 8) if workers is None else workers


def leave_signals(_: int) -> None:
    """Ctrl-C reaches every process of a terminal; the one that trains decides when all stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
