"""One run from its settings to its folder: build, train, score, export."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch._dynamo.exc import TorchDynamoException

from cohobate import build, defaults, fast, loggers, teachers
from cohobate.config import RunConfig
from cohobate.core import Method, out_of_memory
from cohobate.cost import cost, example
from cohobate.data.classification import ImageSet
from cohobate.data.draws import generator
from cohobate.data.loader import EVALUATED
from cohobate.data.sampling import Sampler
from cohobate.display import Lines, Silent
from cohobate.engine import Row, Training
from cohobate.machine import Machine
from cohobate.modules import frozen_keys, memory_keys
from cohobate.modules.mixing import check_rows
from cohobate.opening import check_same, check_step, doubts, open_folder
from cohobate.peak import PeakMemory
from cohobate.recall import Recall
from cohobate.rundir import RunDir, check_folder
from cohobate.scores import Scores
from cohobate.stages import located, stages
from cohobate.tables import flat
from cohobate.tasks import TASKS
from cohobate.trained import restore
from cohobate.weights import plain, save_network


def train(config: RunConfig, out: str | Path | None, *, devices: int, display: Lines) -> list[Row]:
    """Trains a run, or goes on with it where its folder says it stopped; returns a row an epoch.

    What its [[before]] names is trained first, in folders of its own in the run's, unless it is done.

    config: as `defaults.resolve` gives it.
    out: the run's folder; by default the one that `defaults.default_folder` names.
    devices: processes, on as many GPUs where there are any.
    Raises ValueError where the settings, the data, the folder or the memory do not fit; `Interrupted`
    on Ctrl-C; FloatingPointError where a loss is not finite; OSError where nothing can be written.
    """
    home = Path(out or defaults.default_folder(config))
    before = stages(config, home)
    check_folder(home)
    for folder, each in [(home, config), *before]:
        check_same(RunDir(folder), each)
        loggers.check(each.log)
    for folder, each in [*before, (home, config)] if before else []:
        if not RunDir(folder).facts():  # so that no mistake is first told when the stages are done
            teachers.blueprint(each)
    for number, (folder, stage) in enumerate(before, start=1):
        done = RunDir(folder).done
        what = "already there" if done else f"{stage.method.name}, {stage.model.arch}"
        display.say(f"stage {number} of {len(before)}, in {folder}: {what}")
        if not done:
            _train(RunDir(folder), stage, home, devices=devices, display=display)
    if before:
        display.say(f"after its stages, in {home}: {config.method.name}, {config.model.arch}")
    return _train(RunDir(home), config, home, devices=devices, display=display)


def _train(
    run: RunDir, config: RunConfig, home: Path, *, devices: int, display: Lines
) -> list[Row]:
    """Trains the run in the folder `home`, or one of its stages, as `train` does."""
    text, number = config.toml(), len(config.before or ())
    seed = generator(config.seed, number).initial_seed() if number else config.seed
    config = located(config, home)
    machine = Machine.of(run, config, devices)
    fabric = machine.launch()
    if not fabric.is_global_zero:
        display = Silent()
    memory = PeakMemory(fabric.device)
    torch.manual_seed(seed)  # of the weights: a network that is born again begins from others
    with fabric.rank_zero_first():
        data = build.load_data(config)
    method = restore(run, config, data)
    loader = train_loader(config, data, method, fabric)
    recall = None
    if config.cache:
        given = {"precision": machine.precision, "batches": len(loader), "say": display.say}
        recall = Recall(config, data, method, fabric, **given)
    begun = bool(run.facts())
    costs = {} if begun else cost(method, data.size)
    if not begun:
        check_step(config, method, costs, fabric)
    warnings = [] if begun else doubts(TASKS[config.task], method, data)  # by all processes
    if fabric.is_global_zero:
        open_folder(run, config, text, machine, method, data, costs, display)
        for warning in warnings:
            display.say(warning)
    fabric.barrier()
    with _out_of_memory_told(run, config):
        _speed_up(run, config, machine, method, data, fabric, display, len(loader), bool(recall))
        backbone = {*method.model.parameters()} - {*method.model.head().parameters()}
        log = loggers.Loggers(config.log if fabric.is_global_zero else (), run, display.say)
        training = Training(
            fabric,
            method,
            loader,
            config.optim,
            config.optim.optimizer(method, backbone),
            run,
            evaluate=Scores(config, data, fabric, run),
            display=display,
            seed=config.seed,
            checkpoint_every=config.checkpoint_every,
            recall=recall,
            log=log.log,
        )
        try:
            with display, log.following(flat(tomllib.loads(text)), training.rows):
                rows = training.fit()
        finally:
            if fabric.is_global_zero:
                _note_memory(run, memory.used())
    if fabric.is_global_zero:
        crop = 1.0 if isinstance(data.train.images, torch.Tensor) else EVALUATED
        save_network(run.path, training.network, data.size, data.classes, crop)
        if training.average:
            run.write_tensors(run.raw_model, plain(method.model.net.state_dict()))
        left_out = frozen_keys(method) | memory_keys(method)
        kept = {k: v for k, v in method.state_dict().items() if k not in left_out}
        run.write_tensors(run.method, plain(kept))
    fabric.barrier()
    return rows


def _note_memory(run: RunDir, used: int) -> None:
    """Notes the most bytes that the first process held; of a run in several parts, the largest."""
    facts = run.facts()
    most = max(used, facts.get("peak_memory_bytes", 0))
    run.write(run.environment, json.dumps({**facts, "peak_memory_bytes": most}, indent=2) + "\n")


@contextmanager
def _out_of_memory_told(run: RunDir, config: RunConfig) -> Iterator[None]:
    """Turns the errors of an allocator into a ValueError that says what would help."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TorchDynamoException):
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"compile=true: the method could not be compiled ({reason}): install a C++ compiler,"
                " or set compile=false"
            ) from error
        if not out_of_memory(error):
            raise
        raise ValueError(_memory_advice(run, config)) from error


def _memory_advice(run: RunDir, config: RunConfig) -> str:
    costs = run.facts()["cost"]
    batch, name = config.data.batch_size, config.method.name
    ratio = costs["training_macs"] / max(1, costs["macs"])
    return (
        f"out of memory with data.batch_size={batch}: {name!r} computes {ratio:.1f} times the"
        " multiply-adds of the network alone on the way forward, and keeps about as many times the maps;"
        f" data.batch_size={max(1, batch // 2)} with optim.accumulate={2 * config.optim.accumulate}"
        " makes the same step in half the memory (in a new folder: --out DIR)"
    )


def _speed_up(
    run: RunDir,
    config: RunConfig,
    machine: Machine,
    method: Method,
    data: ImageSet,
    fabric: Fabric,
    display: Lines,
    batches: int,
    recalls: bool,
) -> None:
    """Readies the method for the device, and compiles it where that is wanted or found to pay.

    recalls: whether the method is told what its teacher says.
    """
    fast.prepare(method.to(fabric.device))
    fast.fold(method, example(method, data.size, 2, fabric.device))
    compiles = machine.compile
    if compiles is None:
        anchors = config.data.batch_size // fabric.world_size
        batch = example(method, data.size, anchors, fabric.device)
        if recalls:
            batch = batch._replace(taught=batch.labels(len(data.classes)))
        steps = batches * config.optim.epochs
        compiles, reason = fabric.broadcast(fast.decide(method, fabric, batch, steps, display.say))
        if fabric.is_global_zero:
            run.write(
                run.environment, json.dumps({**run.facts(), "compile": compiles}, indent=2) + "\n"
            )
        display.say(reason)
    if compiles:
        fast.compile_whole(method)


def sampler(
    config: RunConfig, data: ImageSet, method: Method, rank: int = 0, world: int = 1
) -> Sampler:
    """Which images make which training batch of a method. Raises ValueError where batches do not fit."""
    name, batch_size = config.method.name, config.data.batch_size
    check_batch_size(name, method.min_batch_size, batch_size, world)
    check_rows(method.mix, batch_size // world)
    return Sampler(
        data.train.targets,
        batch_size,
        companions=method.companions,
        repeats=method.repeats,
        seed=config.seed,
        rank=rank,
        world=world,
        classes=len(data.classes),
        class_weights=config.data.class_weights,
    )


def train_loader(config: RunConfig, data: ImageSet, method: Method, fabric: Fabric) -> Any:
    """The training batches that a method wants, on this process. Raises ValueError."""
    return TASKS[config.task].train_loader(
        data.train,
        sampler(config, data, method, fabric.global_rank, fabric.world_size),
        augment=data.augment if config.data.augment is None else config.data.augment,
        size=data.size,
        views=method.views,
        distort=method.distort,
        seed=config.seed,
        mean=data.mean,
        device=fabric.device,
        workers=config.data.workers,
        **method.model.asks,
    )


def check_batch_size(method: str, least: int, batch_size: int, processes: int) -> None:
    """Raises ValueError where a process's batches have fewer than the `least` anchors of a method."""
    if batch_size // processes < least:
        among = f" among {processes} processes" if processes > 1 else ""
        raise ValueError(
            f"data.batch_size={batch_size}{among}: method {method!r} needs {least} images or more in"
            f" {'each batch' if processes == 1 else 'the batch of each'}; choose"
            f" data.batch_size={least * processes} or more"
        )
