"""How much faster a training step is than the same method as torch comes: eager, contiguous, float32.

    python benchmarks/step.py [--methods mixskd,kd] [--repeats 5] [--steps 4] [--compile]

Both sides run the same method on the same batch of 64 random images, with the same threads, in this process. The reference
reads every loss after each step, as most training scripts do. Repeats are interleaved; the table has their medians.
Run it alone: a busy core makes torch many times slower.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from statistics import median
from typing import Any

import torch

from cohobate import Batch, Classifier, Progress, fast
from cohobate.core import Method
from cohobate.display import show
from cohobate.losses import total
from cohobate.machine import fast_precision, keep_memory
from cohobate.methods import METHODS

BATCH, CLASSES, SIZE = 64, 100, 32
CASES = {
    "supervised": ("cifar_resnet18", None),
    "mixskd": ("cifar_resnet18", None),
    "frskd": ("cifar_resnet18", None),
    "kd": ("cifar_resnet8x4", "cifar_resnet32x4"),
    "hsakd": ("cifar_wrn_16_2", "cifar_wrn_40_2"),
}
"""The network of each method, and its teacher's."""

Step = Callable[[], None]


def build(name: str) -> Method:
    torch.manual_seed(0)
    arch, teacher = CASES[name]
    options: dict[str, Any] = {}
    if teacher:
        network = Classifier(teacher, CLASSES)
        options["teacher"] = METHODS["hsakd_teacher"](network) if name == "hsakd" else network
    return METHODS[name](Classifier(arch, CLASSES), **options)


def batch_of(method: Method) -> Batch:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(BATCH, 3, SIZE, SIZE, generator=draw)
    return method.mixed(Batch(images, torch.arange(BATCH) % CLASSES, torch.arange(BATCH)), draw)


def reference(method: Method) -> Step:
    """As torch comes, with every loss read after the step."""
    batch, optimizer = batch_of(method), torch.optim.SGD(method.parameters(), 0.01, 0.9)

    def step() -> None:
        losses = method(batch, Progress(0, 1, 0, 1))
        optimizer.zero_grad()
        total(losses.values()).backward()
        optimizer.step()
        for value in losses.values():
            value.item()

    return step


def ours(method: Method, compiled: bool) -> Step:
    """As the engine does it."""
    fast.prepare(method)
    fast.fold(method, batch_of(method))
    batch = batch_of(method)
    batch = batch._replace(images=batch.images.to(memory_format=torch.channels_last))
    optimizer = torch.optim.SGD(method.parameters(), 0.01, 0.9, fused=True)
    precision = fast_precision()
    if compiled:
        fast.compile_whole(method)
    now = Progress(torch.tensor(0), 1, torch.tensor(0), 1)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            losses = method(batch, now)
        total(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def rate(step: Step, steps: int) -> float:
    """Images a second over some steps."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=",".join(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    keep_memory()
    rows = []
    for name in given.methods.split(","):
        method = build(name)
        sides = (reference(deepcopy(method)), ours(method, given.compile))
        for side in sides:
            rate(side, 2)
        rates = [[rate(side, given.steps) for side in sides] for _ in range(given.repeats)]
        theirs, mine = (median(side) for side in zip(*rates))
        rows.append((name, CASES[name][0], f"{theirs:.1f}", f"{mine:.1f}", f"{mine / theirs:.2f}"))
    print(f"{torch.get_num_threads()} threads, {fast_precision()}, compiled: {given.compile}")
    show(["method", "network", "reference images/s", "ours images/s", "ratio"], rows)


if __name__ == "__main__":
    main()
