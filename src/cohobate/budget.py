"""What a training costs before it is begun, and runs made longer or shorter to cost the same."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import chain, count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import torch

from cohobate import build, defaults, fast, teachers
from cohobate.config import INERT, MethodConfig, RunConfig
from cohobate.cost import cost, example
from cohobate.display import Lines, Silent
from cohobate.engine import Training
from cohobate.machine import Machine, environment
from cohobate.methods import find_method
from cohobate.rundir import RunDir
from cohobate.tables import flat
from cohobate.train import train_loader

T = TypeVar("T")
Budget = Literal["epochs", "compute", "minutes"]
"""What all methods get equally much of."""
TRIAL = 2.0
"""Seconds of steps that are timed of each method, after three steps that are not."""


def supervised(config: RunConfig) -> RunConfig:
    """The run that trains the same network on the same images from their labels alone."""
    plain = {"method": MethodConfig(), "mix": None, "before": None, "cache": None}
    return defaults.resolve(config.model_copy(update=plain))[0]


def lengths(
    configs: Mapping[str, RunConfig],
    budget: Budget,
    file: Path,
    display: Lines,
    measure: bool = True,
) -> dict[str, int]:
    """The epochs, one or more, in which each run costs what `supervised` does in those it has.

    file: where what "minutes" measures is kept, so that the same runs are planned again.
    measure: whether it may be measured. Raises ValueError where it would have to be, and may not.
    """
    clock, epochs = _Clock(file, display, measure), dict[str, int]()
    for name, config in configs.items():
        if budget == "compute":
            ratio = operations(config)
        else:
            ratio = clock(name, config) / clock("supervised", supervised(config))
        epochs[name] = max(1, round(config.optim.epochs / ratio))
    return epochs


class _Clock:
    """The seconds that an epoch of a run takes, measured once and kept in a file."""

    def __init__(self, file: Path, display: Lines, measure: bool):
        self.folder, self.file = RunDir(file.parent), file
        self.display, self.measure = display, measure
        self.kept = self.folder.read(file)

    def __call__(self, name: str, config: RunConfig) -> float:
        mark = _mark(config)
        if mark in self.kept:
            return self._of(mark, "seconds_per_epoch", float)
        if not self.measure:
            raise ValueError(
                f"--budget minutes: {self.file} does not say how long {name} takes, and with"
                " --no-train nothing is measured: leave --no-train away once"
            )
        here = _machine(config)
        others = {self._of(each, "machine", str) for each in self.kept} - {here}
        if others:
            raise ValueError(
                f"--budget minutes: the times in {self.file} are those of another machine"
                f" ({', '.join(sorted(others))}), and those of {name} here ({here}) cannot be held"
                " against them: go on there, or name another folder with --out DIR"
            )
        taken = round(seconds(config), 4)
        self.display.say(f"timed {name}: {taken:.3g} seconds an epoch")
        self.kept[mark] = {"name": name, "seconds_per_epoch": taken, "machine": here}
        self.folder.write(self.file, json.dumps(self.kept, indent=2) + "\n")
        return taken

    def _of(self, mark: str, key: str, kind: Callable[[Any], T]) -> T:
        """What the file says of a run. Raises ValueError where it is damaged."""
        try:
            return kind(self.kept[mark][key])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.file} is damaged: {mark} has no {key}: remove the file, and all is timed anew"
            ) from error


def _machine(config: RunConfig) -> str:
    """What a run takes its time on, and how: processor or GPU, threads, precision."""
    with TemporaryDirectory() as folder:
        facts = environment(Machine.of(RunDir(folder), config, 1))
    own = [facts["precision"]] if config.precision == "auto" else []  # else it is the run's choice
    return ", ".join([facts["processor"], f"{facts['threads']} threads", *own])


def _mark(config: RunConfig) -> str:
    """A fingerprint of what makes a run take its time: all settings but the seed and `INERT`."""
    table = flat(config.model_dump(mode="json", exclude={"seed"}, exclude_none=True))
    kept = {key: value for key, value in table.items() if key not in INERT}
    return blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()


def scaled(config: RunConfig, epochs: int) -> RunConfig:
    """A run of so many epochs; its milestones and warm-ups stay the same share of it.

    A warm-up is what `optim.warmup` says, and every option of a method that is `core.Epochs`.
    """
    if epochs == config.optim.epochs:
        return config
    ratio, optim = epochs / config.optim.epochs, config.optim
    assert optim.warmup is not None
    last = max(1, epochs - 1)  # one at the end would never act
    milestones = sorted({min(last, max(1, round(each * ratio))) for each in optim.milestones})
    changed = replace(
        optim, epochs=epochs, milestones=tuple(milestones), warmup=optim.warmup * ratio
    )
    given = config.method.options
    own = {name: given[name] * ratio for name in find_method(config.method.name).in_epochs()}
    method = config.method.model_copy(update=own)
    return config.model_copy(update={"optim": changed, "method": method})


def operations(config: RunConfig) -> float:
    """What an epoch of a run computes, as a multiple of what `supervised` does on its network.

    Counted on the meta device, as `cost` has it; stages before the run, and the training of its
    teacher, are not in it.
    """
    method, size = teachers.blueprint(config)
    costs = cost(method, size)
    steps = 2 if method.repeats else 1  # half of a batch that repeats is new
    return steps * costs["step_macs"] / costs["supervised_macs"]


def seconds(config: RunConfig) -> float:
    """Seconds that an epoch of a run takes on this machine, its scores aside, from a few of its steps.

    They are compiled only where `compile=true`. A teacher need not be trained: it has new weights, and
    takes as long; stages before the run are not in it. Raises what building raises.
    """
    with TemporaryDirectory() as folder:
        machine = Machine.of(RunDir(folder), config, 1)
        fabric = machine.launch()
        data = build.load_data(config)
        method, _ = teachers.blueprint(config, data, device="cpu")
        loader = train_loader(config, data, method, fabric)
        fast.prepare(method.to(fabric.device))
        fast.fold(method, example(method, data.size, 2, fabric.device))
        if machine.compile:
            fast.compile_whole(method)
        training = Training(
            fabric,
            method,
            loader,
            config.optim,
            config.optim.optimizer(method, []),
            RunDir(folder),
            evaluate=lambda network, last: {},
            display=Silent(),
            seed=config.seed,
        )
        training.wrapped.train()
        batches = chain.from_iterable(map(loader.epoch, count()))
        for _ in range(3):
            training.advance(0, 0, batches)
        steps = list[float]()
        while len(steps) < 5 or sum(steps) < TRIAL:
            began = time.perf_counter()
            training.advance(0, 0, batches)
            if fabric.device.type == "cuda":
                torch.cuda.synchronize()
            steps.append(time.perf_counter() - began)
        return median(steps) * training.per_epoch
