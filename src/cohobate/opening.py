"""What is looked at, and written, before the first step of a run."""

import json
import tomllib
from typing import Any

import torch
from lightning_fabric import Fabric

from cohobate import build, teachers
from cohobate.config import RunConfig, differences
from cohobate.core import Method
from cohobate.cost import held_bytes, too_large
from cohobate.data.classification import ImageSet
from cohobate.display import Lines
from cohobate.machine import Machine, environment, free_memory
from cohobate.modules import Frozen, frozen_keys
from cohobate.recorded import check_data, record_data
from cohobate.rundir import RunDir
from cohobate.tasks import Task
from cohobate.weights import plain

SAME_MACHINE = (
    "cohobate",
    "code",
    "torch",
    "torchvision",
    "timm",
    "python",
    "processor",
    "devices",
)
"""What has to be equal for a continued run to end in the same bits."""


def check_same(run: RunDir, config: RunConfig) -> None:
    """Raises ValueError where the folder holds a run of other settings."""
    if not run.config.exists():
        if run.last.exists() or run.previous.exists():
            raise ValueError(
                f"{run.path} holds a checkpoint without the config.toml that it belongs to: name"
                f" another folder with --out DIR, or `rm -r {run.path}` to start anew"
            )
        return
    try:
        old = tomllib.loads(run.config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{run.config} is damaged: {error}") from error
    changed = differences(old, tomllib.loads(config.toml()))
    if changed:
        raise ValueError(
            f"{run.path} holds a run of other settings (folder → asked):\n  "
            + "\n  ".join(changed)
            + f"\nname another folder with --out DIR, or `rm -r {run.path}` to start anew"
        )


def check_step(config: RunConfig, method: Method, costs: dict[str, Any], fabric: Fabric) -> None:
    """Raises ValueError, on all processes, where a step is far too large for the free memory."""
    here = 1 if fabric.device.type == "cuda" else fabric.world_size
    free = free_memory(fabric.device)
    rows = max(2, config.data.batch_size // fabric.world_size)
    held = held_bytes(method, costs, rows)
    refusal = fabric.broadcast(too_large(held, rows, here, free))
    if refusal:
        options = config.method.options.items()
        numbers = {key: value for key, value in options if type(value) is int and value > 1000}
        lower = "".join(f" or method.{key}={value}" for key, value in numbers.items())
        raise ValueError(f"{refusal}: lower data.batch_size={config.data.batch_size}{lower}")


def open_folder(
    run: RunDir,
    config: RunConfig,
    text: str,
    machine: Machine,
    method: Method,
    data: ImageSet,
    costs: dict[str, Any],
    display: Lines,
) -> None:
    """Writes what a run folder starts with, or compares this machine with the one that wrote it.

    text: the run file of the run, in which `@` may name a stage. costs: of a run that begins here.
    """
    here = environment(machine)
    if there := run.facts():
        check_data(run, data)
        other = [
            f"{name} {there[name]} → {here[name]}"
            for name in SAME_MACHINE
            if name in there and there[name] != here[name]
        ]
        if other:
            display.say(
                f"warning: {run.path} was begun under other conditions ({', '.join(other)}); it goes on, but"
                " not to the same bits"
            )
    else:
        known = {"cost": costs, "notes": [*data.notes, *build.notes(method)]}
        if frozen := frozen_keys(method):
            state = method.state_dict()
            run.write_tensors(run.frozen, plain({key: state[key] for key in frozen}))
        if "teacher" in config.method.options:
            run.teacher.mkdir(parents=True, exist_ok=True)
            for name, facts in teachers.description(str(config.method.options["teacher"])).items():
                run.write(run.teacher / name, facts)
        images = {"images": record_data(run, data)}
        run.write(run.config, text)
        run.write(run.environment, json.dumps({**here, **known, **images}, indent=2) + "\n")
    for note in (*data.notes, *build.notes(method)):
        display.say(note)


def doubts(task: Task, method: Method, data: ImageSet) -> list[str]:
    """A warning where the method's teacher cannot be told from chance on this data."""
    frozen = getattr(method, "teacher", None)
    if not isinstance(frozen, Frozen):
        return []
    seen = data.val or data.train
    first = seen.take(torch.arange(len(seen))[:: max(1, len(seen) // 512)])
    batches = task.eval_loader(first, size=data.size, batch_size=64, workers=0)
    score = task.evaluate(frozen.net, batches)[task.score]
    chance = task.chance(len(data.classes))
    spread = (chance * (1 - chance) / len(first)) ** 0.5 if task.answers else 0.0
    if score > chance + 3 * spread:
        return []
    return [
        f"warning: the teacher is no better than chance on this data: {100 * score:.1f} % of"
        f" {len(first)} images"
    ]
