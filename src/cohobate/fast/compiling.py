"""Whether to compile a method, found out by trying."""

import os
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from lightning_fabric import Fabric

from cohobate.core import Batch, Method, Progress
from cohobate.losses import total

PAYS_FROM = 600.0
"""Seconds of steps from which compiling is tried: it takes one or two minutes, and saves a share."""


class Decision(NamedTuple):
    """Whether a method is compiled, and the sentence that says why."""

    compile: bool
    reason: str


def compile_whole(method: Method) -> None:
    """Compiles losses and all as one graph; with CUDA graphs on a GPU. Takes place at the first call.

    Of networks whose losses are no one graph, as those of detectors, it is their `compile_scope` alone.
    What is compiled is kept on the disk for the next start, where `TORCHINDUCTOR_CACHE_DIR` says
    or under the user's cache.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "cohobate" / "compiled"))
    on_gpu = next(method.parameters()).is_cuda
    scope: str = method.model.compile_scope
    if not scope:
        method.compile(fullgraph=True, mode="reduce-overhead" if on_gpu else None)
        return
    for network in method.modules():
        if getattr(network, "compile_scope", "") == scope:
            network.get_submodule(scope).compile(fullgraph=True)


def decide(
    method: Method, fabric: Fabric, batch: Batch, steps: int, say: Callable[[str], None]
) -> Decision:
    """Times a few forward and backward passes of a copy, plain and compiled.

    method, batch: as they train, on the device. steps: how many are left to do. say: is told what
    takes long. Compiling is tried only where the steps would take `PAYS_FROM` seconds or more.
    """
    plain = _seconds(deepcopy(method), fabric, batch)
    left = plain * steps
    if left < PAYS_FROM:
        return Decision(False, f"not compiled: {steps} steps of {plain:.2g} s are too few to gain")
    say("compiling, to see whether it pays; this may take some minutes")
    twin = deepcopy(method)
    compile_whole(twin)
    began = time.perf_counter()
    try:
        _pass(twin, fabric, batch)()
        spent = time.perf_counter() - began
        compiled = _seconds(twin, fabric, batch)
    except Exception as error:  # a compiler raises anything, such as that there is no C++ compiler
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        return Decision(False, f"not compiled, because that failed: {first}")
    gains = (plain - compiled) * steps > spent
    times = (
        f"a step takes {plain:.2g} s, compiled {compiled:.2g} s after {spent:.0f} s of compiling"
    )
    return Decision(gains, f"{'compiled' if gains else 'not compiled'}: {times}")


def _pass(method: Method, fabric: Fabric, batch: Batch) -> Callable[[], None]:
    now = torch.zeros((), dtype=torch.long, device=fabric.device)

    def once() -> None:
        with fabric.autocast():
            losses = method.train()(batch, Progress(now, 1, now, 1))
        total(losses.values()).backward()
        method.zero_grad()
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return once


def _seconds(method: Method, fabric: Fabric, batch: Batch) -> float:
    """The median of three passes, after one that is not counted."""
    once, times = _pass(method, fabric, batch), []
    for _ in range(4):
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    return median(times[1:])
