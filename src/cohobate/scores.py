"""What the network of a run scores on the splits of its data."""

from lightning_fabric import Fabric
from torch import nn

from cohobate.config import RunConfig
from cohobate.data.classification import ImageSet
from cohobate.data.loader import EvalLoader
from cohobate.tasks import TASKS


class Scores:
    """Scores of a network as `val/…`, at the end as `test/…`, and on demand as `oracle/…`."""

    def __init__(self, config: RunConfig, data: ImageSet, fabric: Fabric):
        self.fabric = fabric
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
        return {
            f"{name}/{key}": value
            for name, split in splits.items()
            if split is not None
            for key, value in self.score(
                network, EvalLoader(split, **self.load), self.fabric.autocast()
            ).items()
        }
