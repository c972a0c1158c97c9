"""What the network of a run scores on the splits of its data."""

from collections.abc import Sequence
from pathlib import Path

from lightning_fabric import Fabric
from torch import nn

from cohobate import fast
from cohobate.config import RunConfig
from cohobate.data.classification import ImageSet
from cohobate.machine import Machine
from cohobate.tasks import TASKS
from cohobate.trained import reopen


def evaluate(folder: str | Path, split: str, overrides: Sequence[str]) -> dict[str, float]:
    """Scores of the network in a run's folder on a split of its data: "train", "val" or "test".

    overrides: settings such as `data.root=…`, to score it on other data of the same classes.
    Raises ValueError where the folder holds no trained network, or the data has no such split.
    """
    trained = reopen(folder, overrides)
    config, network, data = trained.config, trained.network, trained.data
    chosen = trained.split(split)
    machine = Machine.of(trained.run, config, 1)
    fabric = machine.launch()
    fast.prepare(network.to(fabric.device))
    batches = TASKS[config.task].eval_loader(
        chosen,
        size=data.size,
        batch_size=config.eval.batch_size,
        device=fabric.device,
        workers=config.data.workers,
    )
    return TASKS[config.task].evaluate(network, batches, fabric.autocast())


class Scores:
    """Scores of a network as `val/…`, at the end as `test/…`, and on demand as `oracle/…`."""

    def __init__(self, config: RunConfig, data: ImageSet, fabric: Fabric):
        self.fabric = fabric
        self.score, self.loader = TASKS[config.task].evaluate, TASKS[config.task].eval_loader
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
        return {
            f"{name}/{key}": value
            for name, split in splits.items()
            if split is not None
            for key, value in self.score(
                network, self.loader(split, **self.load), self.fabric.autocast()
            ).items()
        }
