"""A network that stands ready to be looked at: on a device, with the images that it is shown."""

from collections.abc import Iterable
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from cohobate import fast
from cohobate.analysis.embedding import outputs
from cohobate.core import Batch
from cohobate.data.loader import EvalLoader, looked_at
from cohobate.data.splits import Split
from cohobate.display import Lines
from cohobate.machine import Machine
from cohobate.models import Classifier
from cohobate.trained import Trained


class Stand:
    """A network on a device, with the data that it is shown."""

    def __init__(self, trained: Trained, display: Lines):
        self.trained, self.display = trained, display
        self.machine = Machine.of(trained.run, trained.config, 1)
        self.fabric: Fabric = self.machine.launch()
        self.network = self.ready(trained.network)

    def ready(self, network: Classifier) -> Classifier:
        """The network, on the device and as fast as it goes there."""
        fast.prepare(network.to(self.fabric.device))
        return network.eval()

    def batches(self, what: str, split: Split, **options: Any) -> Iterable[Batch]:
        """The images of a split, while a person sees how far it is; cut as the network is used to."""
        config = self.trained.config
        given = {
            "size": self.trained.data.size,
            "batch_size": config.eval.batch_size,
            "share": looked_at(self.network.net.pretrained_cfg),
            **options,
        }
        loader = EvalLoader(split, device=self.fabric.device, workers=config.data.workers, **given)
        return self.display.track(f"{what}: {len(split):,} images", loader)

    def logits(self, what: str, split: Split, network: Classifier | None = None) -> Tensor:
        """What the network, or another one, says of a split: (N, C), on the CPU.

        what: the split, or the other network, in words. Raises ValueError for what is no number.
        """
        seen = outputs(network or self.network, self.batches(what, split), self.fabric.autocast())
        logits = seen.logits.cpu()
        if lost := int((~logits.isfinite().all(1)).sum()):
            who = what if network else f"{self.trained.run.path}, on {what},"
            raise ValueError(
                f"{who} says of {lost} of {len(split)} images what is no number: its weights are"
                " damaged, or its training diverged"
            )
        return logits
