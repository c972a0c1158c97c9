"""What trains a method, made ready to be timed: the product's own loop, and torch as it comes."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from math import ceil
from statistics import median
from typing import Any, get_type_hints

import torch
from lightning_fabric import Fabric

from cohobate import fast
from cohobate.core import Batch, Method, Progress, cores
from cohobate.cost import example
from cohobate.data.loader import TrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split
from cohobate.display import Silent
from cohobate.engine import Training
from cohobate.losses import total
from cohobate.machine import Machine, fast_precision
from cohobate.methods import find_method
from cohobate.optim import Recipe
from cohobate.rundir import RunDir
from cohobate.tasks import TASKS


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
    task: str = "classification"

    @classmethod
    def usual(cls, task: str) -> "Case":
        """A case that is quick to measure: what is told for each image or box takes longer."""
        if task == "classification":
            return cls()
        return cls(task=task, model="test_resnet", batch_size=8, size=64, classes=20)

    @property
    def samples(self) -> int:
        """Images that lie in memory."""
        return 8 * self.batch_size


def build_method(case: Case) -> Method:
    """The method of a case, with new weights. Raises ValueError where the parts do not fit."""
    torch.manual_seed(0)
    kind = find_method(case.method)
    if case.task not in kind.tasks:
        raise ValueError(
            f"method {case.method!r} is for {' and '.join(kind.tasks)}, and this is {case.task}"
        )
    asked = inspect.signature(kind).parameters
    given: dict[str, Any] = {"samples": case.samples} if "samples" in asked else {}
    if "teacher" in asked:
        teacher = _network(case, case.teacher or case.model)
        wanted = get_type_hints(kind.__init__)["teacher"]
        given["teacher"] = wanted(teacher) if issubclass(wanted, Method) else teacher
    return kind(_network(case, case.model), **given)


def _network(case: Case, arch: str) -> Any:
    """A network for the task."""
    given = NETWORKS.get(case.task, {})
    return TASKS[case.task].model(arch, case.classes, size=case.size, **given)


NETWORKS = {"segmentation": {"decoder": "bifpn"}, "detection": {"detector": "retinanet"}}
"""What is put on an encoder to measure methods for other tasks; FRSKD's decoder is one that all fit."""


class Ours:
    """The product's own loop: its loader, its method made ready, its optimiser."""

    def __init__(self, case: Case, fabric: Fabric, folder: str):
        method = build_method(case)
        fast.prepare(method.to(fabric.device))
        fast.fold(method, example(method, case.size, 2, fabric.device))
        if case.compile:
            fast.compile_whole(method)
        loader = _loader(case, method, fabric.device)
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


def _loader(case: Case, method: Method, device: torch.device) -> Any:
    """Images of noise that lie in memory; for another task one batch of them, which is at hand."""
    if case.task != "classification":
        return Held(example(method, case.size, case.batch_size, device))
    images = torch.randint(256, (case.samples, 3, case.size, case.size)).byte()
    split = Split(images, torch.arange(len(images)) % case.classes)
    return TrainLoader(
        split,
        Sampler(
            split.targets,
            case.batch_size,
            companions=method.companions,
            repeats=method.repeats,
        ),
        augment=["crop", "flip"],
        size=case.size,
        views=method.views,
        distort=method.distort,
        device=device,
    )


class Held:
    """A loader of one batch, again and again."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        yield self.batch


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
        wait()
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def rates(
    sides: Sequence[Callable[[], object]], images: int, seconds: float = 0.5, repeats: int = 5
) -> list[float]:
    """Images a second of each side, whose call takes `images`: medians of interleaved repeats.

    seconds: how long a repeat lasts at least. Three calls of each side come first, not counted.
    """
    steps = []
    for side in sides:
        _seconds(side, 2)
        steps.append(ceil(seconds / _seconds(side, 1)))
    rounds = [[n / _seconds(side, n) for side, n in zip(sides, steps)] for _ in range(repeats)]
    return [images * median(side) for side in zip(*rounds)]


def _seconds(side: Callable[[], object], calls: int) -> float:
    wait()
    began = time.perf_counter()
    for _ in range(calls):
        side()
    wait()
    return time.perf_counter() - began


def machine() -> Machine:
    """This machine as a run decides on it, not compiling."""
    return Machine(fast_precision(), False, cores(), 1, False)


def wait() -> None:
    """Until the GPU, if there is one, has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
