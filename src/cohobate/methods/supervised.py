from typing import Any

from cohobate.core import Batch, Losses, Method, Progress


class Supervised(Method[Any]):
    """Plain training on the labels: the baseline of every task.

    Rumelhart et al., "Learning representations by back-propagating errors", Nature 323, 1986,
    https://doi.org/10.1038/323533a0.
    """

    tasks = ("classification", "segmentation", "detection")

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.model.losses(batch)
