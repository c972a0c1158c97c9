"""How fast this machine trains each method, and against what."""

import inspect
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import chain, count
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, get_type_hints

import torch
from lightning_fabric import Fabric

from cohobate import fast
from cohobate.build import find_method
from cohobate.core import Batch, Method, Progress, cores
from cohobate.cost import example, step_flops
from cohobate.data.loader import TrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split
from cohobate.display import Lines, Silent
from cohobate.engine import Training
from cohobate.losses import total
from cohobate.machine import Machine, environment, fast_precision
from cohobate.models import Classifier
from cohobate.optim import Recipe
from cohobate.rundir import RunDir

REPEATS, SECONDS = 5, 0.5


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured: a method on a network, and images of noise that lie in memory.

    teacher: the network of a method that needs one; else the same as `model`.
    batch_size, size, classes: images in a batch, their side in pixels, and their classes.
    compile: whether ours is compiled; the reference never is.
    """

    method: str = "supervised"
    model: str = "cifar_resnet20"
    teacher: str | None = None
    batch_size: int = 64
    size: int = 32
    classes: int = 100
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of a method: medians of interleaved repeats, in one process.

    vs_supervised: images a second, as a multiple of `supervised` on the same network.
    vs_eager_float32: as a multiple of the same method as torch comes: eager, contiguous, float32,
        every loss read after each step.
    peak_memory_bytes: most memory of a process that does nothing else, beyond what it began with;
        of the reference, `eager_peak_memory_bytes`.
    data_wait: share of the time that is spent on getting batches.
    mfu: floating-point operations of the method as a share of what the machine's matrix products
        reach in that precision.
    """

    method: str
    images_per_second: float
    vs_supervised: float
    vs_eager_float32: float
    peak_memory_bytes: int
    eager_peak_memory_bytes: int
    data_wait: float
    mfu: float


def bench(cases: list[Case], display: Lines) -> tuple[list[Row], list[str]]:
    """A row for each case, each measured in processes of its own; and what could not be measured.

    Raises ValueError where nothing could be.
    """
    rows, failed = list[Row](), list[str]()
    for case in display.track(f"measuring {len(cases)} methods", cases):
        try:
            memory = _alone(_memory_of_reference, case)
            rows.append(replace(_alone(_measure, case), eager_peak_memory_bytes=memory))
        except ValueError as error:
            failed.append(f"{case.method}: {error}")
    if not rows:
        raise ValueError("; ".join(failed))
    return rows, failed


HEADINGS = (
    "method",
    "images/s",
    "× supervised",
    "× eager float32",
    "peak memory",
    "× supervised",
    "× eager float32",
    "data wait",
    "of matrix rate",
)


def lines(rows: list[Row]) -> list[tuple[str, ...]]:
    """The rows as people read them, under `HEADINGS`."""
    plain = rows[0].peak_memory_bytes
    return [
        (
            row.method,
            f"{row.images_per_second:.1f}",
            f"{row.vs_supervised:.2f}",
            f"{row.vs_eager_float32:.2f}",
            f"{row.peak_memory_bytes / 2**20:.0f} MiB",
            f"{row.peak_memory_bytes / plain:.2f}",
            f"{row.peak_memory_bytes / row.eager_peak_memory_bytes:.2f}",
            f"{100 * row.data_wait:.1f} %",
            f"{100 * row.mfu:.1f} %",
        )
        for row in rows
    ]


def setting(case: Case) -> str:
    """What all cases have in common, and where they are measured, in one line."""
    here = environment(_machine())
    return (
        f"{case.model}, batches of {case.batch_size} at {case.size} pixels, {case.classes} classes;"
        f" {here['precision']}, {'compiled' if case.compile else 'not compiled'};"
        f" {here['processor']}, {here['threads']} threads, torch {here['torch']}, {here['date'][:10]}"
    )


def build_method(case: Case) -> Method:
    """The method of a case, with new weights. Raises ValueError where the parts do not fit."""
    torch.manual_seed(0)
    kind = find_method(case.method)
    asked = inspect.signature(kind).parameters
    given: dict[str, Any] = {"samples": case.batch_size} if "samples" in asked else {}
    if "teacher" in asked:
        teacher = Classifier(case.teacher or case.model, case.classes, size=case.size)
        wanted = get_type_hints(kind.__init__)["teacher"]
        given["teacher"] = wanted(teacher) if issubclass(wanted, Method) else teacher
    return kind(Classifier(case.model, case.classes, size=case.size), **given)


class Ours:
    """The product's own loop: its loader, its method made ready, its optimiser."""

    def __init__(self, case: Case, fabric: Fabric, folder: str):
        method = build_method(case)
        fast.prepare(method.to(fabric.device))
        fast.fold(method, example(method, case.size, 2, fabric.device))
        if case.compile:
            fast.compile_whole(method)
        images = torch.randint(256, (8 * case.batch_size, 3, case.size, case.size)).byte()
        split = Split(images, torch.arange(len(images)) % case.classes)
        loader = TrainLoader(
            split,
            Sampler(split.targets, case.batch_size, companions=method.companions),
            augment=["crop", "flip"],
            size=case.size,
            views=method.views,
            device=fabric.device,
        )
        recipe = Recipe(epochs=10**6, lr=1e-3, schedule="constant", warmup=0.0, weight_decay=5e-4)
        self.training = Training(
            fabric,
            method,
            loader,
            recipe,
            recipe.optimizer(method, []),
            RunDir(folder),
            evaluate=lambda network, last: {},
            display=Silent(),
        )
        self.training.wrapped.train()
        self.batches: Iterator[Batch] = chain.from_iterable(map(loader.epoch, count()))

    def step(self) -> None:
        self.training.advance(0, 0, self.batches)

    @property
    def data_wait(self) -> float:
        return self.training.waited / self.training.seconds


class Reference:
    """The same method as torch comes: eager, contiguous, float32, one batch that is always at hand."""

    def __init__(self, case: Case, fabric: Fabric):
        self.method = build_method(case).to(fabric.device)
        self.batch = example(self.method, case.size, case.batch_size, fabric.device)
        self.optimizer = torch.optim.SGD(self.method.parameters(), 1e-3, 0.9, weight_decay=5e-4)

    def step(self) -> None:
        losses = self.method(self.batch, Progress(0, 1, 0, 1))
        self.optimizer.zero_grad()
        total(losses.values()).backward()
        self.optimizer.step()
        for loss in losses.values():
            loss.item()


def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of large matrix products, the best of several."""
    side = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def images_per_second(side: Ours | Reference, images: int, steps: int) -> float:
    """The rate over some steps."""
    device = next(_method_of(side).parameters()).device
    _wait(device)
    began = time.perf_counter()
    for _ in range(steps):
        side.step()
    _wait(device)
    return images * steps / (time.perf_counter() - began)


def _measure(case: Case) -> Row:
    fabric = _machine().launch()
    before = _peak(fabric.device)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(case, fabric, folder)
        for _ in range(3):
            ours.step()
        memory = _peak(fabric.device) - before
        alone = case.method == "supervised"
        plain = ours if alone else Ours(replace(case, method="supervised"), fabric, folder)
        sides = (ours, plain, Reference(case, fabric))
        steps = [ceil(SECONDS / _warm(side)) for side in sides]
        rates = [
            [images_per_second(side, case.batch_size, n) for side, n in zip(sides, steps)]
            for _ in range(REPEATS)
        ]
    mine, supervised, eager = (median(side) for side in zip(*rates))
    flops = step_flops(build_method(case), case.size)
    return Row(
        method=case.method,
        images_per_second=mine,
        vs_supervised=1.0 if alone else mine / supervised,
        vs_eager_float32=mine / eager,
        peak_memory_bytes=memory,
        eager_peak_memory_bytes=0,
        data_wait=ours.data_wait,
        mfu=flops * mine / matrix_rate(fabric.device, fast_precision()),
    )


def _memory_of_reference(case: Case) -> int:
    fabric = _machine().launch()
    before = _peak(fabric.device)
    reference = Reference(case, fabric)
    for _ in range(3):
        reference.step()
    return _peak(fabric.device) - before


def _warm(side: Ours | Reference) -> float:
    """Seconds of a step, after two that are not counted."""
    for _ in range(2):
        side.step()
    return 1 / images_per_second(side, 1, 1)


def _method_of(side: Ours | Reference) -> Method:
    return side.method if isinstance(side, Reference) else side.training.method


def _machine() -> Machine:
    return Machine(fast_precision(), False, cores(), 1, False)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    """Bytes: the most that this process has held so far, of the GPU where it computes on one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _alone(job: Any, case: Case) -> Any:
    """What a job returns, from a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(job, case).result()
        except BrokenProcessPool:
            raise ValueError(
                f"its process was ended, most likely for want of memory: lower --batch-size"
                f" (now {case.batch_size})"
            ) from None
