"""What the network of a run scores on the splits of its data."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cohobate import defaults, fast
from cohobate.config import RunConfig
from cohobate.data.classification import ImageSet
from cohobate.distributed import most
from cohobate.machine import Machine
from cohobate.rundir import RunDir
from cohobate.tasks import TASKS
from cohobate.trained import Trained, reopen


def record_outcomes(folder: str | Path) -> None:
    """Scores the network of a finished run once more, and writes its `outcomes.json`.

    Raises ValueError where the network or the data is not there, and where the network does not
    score what the run's last row says: then these are not the answers that it gave.
    """
    trained = reopen(folder)
    task, run, test = TASKS[trained.config.task], trained.run, trained.split("test")
    if task.outcomes is None:
        raise ValueError(f"a run of task={trained.config.task} has no {run.outcomes.name}")
    counts = _counts(trained, test, task.outcomes.shape(len(test), len(trained.data.classes)))
    outcomes = task.outcomes.counted(test.fingerprint(), counts.cpu().numpy())
    said = run.rows()[-1][f"test/{task.score}"]
    if abs(outcomes.score - said) > 0.5 * outcomes.least:
        raise ValueError(
            f"{run.path} scores {100 * outcomes.score:.2f} % here and {100 * said:.2f} % in"
            f" {run.metrics.name}: its {run.outcomes.name} is not written"
        )
    run.write(run.outcomes, json.dumps(outcomes.table()) + "\n")


def _counts(trained: Trained, split: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """What a run's network makes of each image of a split, as the task counts it."""
    config, network = trained.config, trained.network
    machine = Machine.of(trained.run, config, 1)
    fabric = machine.launch()
    fast.prepare(network.to(fabric.device))
    batches = TASKS[config.task].eval_loader(
        split,
        size=trained.data.size,
        batch_size=config.eval.batch_size,
        device=fabric.device,
        workers=config.data.workers,
    )
    counts = torch.zeros(shape, dtype=torch.int32, device=fabric.device)
    TASKS[config.task].evaluate(
        network, batches, fabric.autocast(), counts, **defaults.shown(config)
    )
    return counts


def by_name(scores: dict[str, float], classes: Sequence[str]) -> dict[str, float]:
    """Scores with the class's name where the number stood: `iou/3` is `iou/dog`.

    Of a name, letters, digits, dots, dashes and spaces are kept, which every logger takes; one that is
    then no name, that of two classes, or like one with a number behind it, has its number behind it.
    """
    plain = [re.sub(r"[^\w.\- ]", "_", name).strip() for name in classes]
    named = {}
    for key, value in scores.items():
        kind, slash, number = key.partition("/")
        if slash and number.isdecimal():
            name = plain[int(number)]
            if plain.count(name) > 1 or re.search(r"^$|_\d+$", name):
                name = f"{name}_{number}"
            key = f"{kind}/{name}"
        named[key] = value
    return named


class Scores:
    """Scores of a network as `val/…`, at the end as `test/…`, and on demand as `oracle/…`.

    At the end it also writes `outcomes.json` into the folder of the run, where the task has it.
    """

    def __init__(self, config: RunConfig, data: ImageSet, fabric: Fabric, run: RunDir):
        self.fabric, self.run = fabric, run
        self.task, self.classes = TASKS[config.task], data.classes
        self.shown = defaults.shown(config)
        self.every = {"val": data.val, "oracle": data.test if config.eval.oracle else None}
        self.once = {"test": data.test}
        self.load = {
            "size": data.size,
            "batch_size": config.eval.batch_size,
            "device": fabric.device,
            "workers": config.data.workers,
            "rank": fabric.global_rank,
            "world": fabric.world_size,
        }

    def __call__(self, network: nn.Module, last: bool) -> dict[str, float]:
        splits = {**self.every, **(self.once if last else {})}
        scores = dict[str, float]()
        for name, split in splits.items():
            if split is None:
                continue
            kind, counts = self.task.outcomes if name in self.once else None, None
            if kind:
                shape = kind.shape(len(split), len(self.classes))
                counts = torch.zeros(shape, dtype=torch.int32, device=self.fabric.device)
            batches = self.task.eval_loader(split, **self.load)
            autocast = self.fabric.autocast()
            found = self.task.evaluate(network, batches, autocast, counts, **self.shown)
            found = by_name(found, self.classes)
            scores |= {f"{name}/{key}": value for key, value in found.items()}
            if kind and counts is not None:
                counts = most(counts)
                if self.fabric.is_global_zero:
                    outcomes = kind.counted(split.fingerprint(), counts.cpu().numpy())
                    self.run.write(self.run.outcomes, json.dumps(outcomes.table()) + "\n")
        return scores
