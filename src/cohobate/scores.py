"""What the network of a run scores on the splits of its data."""

import json
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from cohobate import fast
from cohobate.config import RunConfig
from cohobate.data.classification import ImageSet
from cohobate.data.loader import EvalLoader
from cohobate.data.splits import Split
from cohobate.distributed import most
from cohobate.machine import Machine
from cohobate.outcomes import Outcomes
from cohobate.rundir import RunDir
from cohobate.tasks import TASKS
from cohobate.trained import Trained, reopen


def record_outcomes(folder: str | Path) -> None:
    """Scores the network of a finished run once more, and writes its `outcomes.json`.

    Raises ValueError where the network or the data is not there, and where the network does not
    score what the run's last row says: then these are not the answers that it gave.
    """
    trained = reopen(folder)
    run, test = trained.run, trained.split("test")
    outcomes = Outcomes(test.fingerprint(), _score(trained, test)[1].bool().cpu().numpy())
    said = run.rows()[-1]["test/top1"]
    if abs(outcomes.top1 - said) > 0.5 / len(test):
        raise ValueError(
            f"{run.path} scores {100 * outcomes.top1:.2f} % here and {100 * said:.2f} % in"
            f" {run.metrics.name}: its {run.outcomes.name} is not written"
        )
    run.write(run.outcomes, json.dumps(outcomes.table()) + "\n")


def _score(trained: Trained, split: Split) -> tuple[dict[str, float], torch.Tensor]:
    """The scores of a run's network on a split, and (N,) int: 1 where it answered rightly."""
    config, network = trained.config, trained.network
    machine = Machine.of(trained.run, config, 1)
    fabric = machine.launch()
    fast.prepare(network.to(fabric.device))
    batches = EvalLoader(
        split,
        size=trained.data.size,
        batch_size=config.eval.batch_size,
        device=fabric.device,
        workers=config.data.workers,
    )
    right = torch.zeros(len(split), dtype=torch.int32, device=fabric.device)
    return TASKS[config.task].evaluate(network, batches, fabric.autocast(), right), right


class Scores:
    """Scores of a network as `val/…`, at the end as `test/…`, and on demand as `oracle/…`.

    At the end it also writes `outcomes.json` into the folder of the run.
    """

    def __init__(self, config: RunConfig, data: ImageSet, fabric: Fabric, run: RunDir):
        self.fabric, self.run = fabric, run
        self.score = TASKS[config.task].evaluate
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
            right = torch.zeros(len(split), dtype=torch.int32, device=self.fabric.device)
            batches = EvalLoader(split, **self.load)
            found = self.score(network, batches, self.fabric.autocast(), right)
            scores |= {f"{name}/{key}": value for key, value in found.items()}
            if name in self.once:
                self._record(split, most(right))
        return scores

    def _record(self, split: Split, right: torch.Tensor) -> None:
        """right: (N,) int, 1 where the network answered an image of the split rightly."""
        if self.fabric.is_global_zero:
            outcomes = Outcomes(split.fingerprint(), right.bool().cpu().numpy())
            self.run.write(self.run.outcomes, json.dumps(outcomes.table()) + "\n")
