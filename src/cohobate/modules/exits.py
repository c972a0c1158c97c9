"""Auxiliary classifiers on the earlier stages of a network."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cohobate.models import Classifier, Tail
from cohobate.modules.branch import Branch
from cohobate.modules.taps import check_stages


class Exits(nn.Module):
    """A classifier on every stage but the last, ending in a map of the last stage's shape.

    Each is a copy of all remaining stages where the backbone is a chain of stages, else a generic
    branch of separable convolutions; `note` says which.
    """

    def __init__(self, model: Classifier):
        super().__init__()
        check_stages(model)
        *shallow, last = model.stages
        tails = [model.tail(stage) for stage in shallow]
        self.parts: Any = nn.ModuleList(
            tail if tail is not None else Branch(stage, last, model.num_classes)
            for stage, tail in zip(shallow, tails)
        )
        kinds = {"copies of the remaining stages" if tail else "generic branches" for tail in tails}
        self.note = f"{len(shallow)} auxiliary branches: {' and '.join(sorted(kinds))}"

    def forward(self, stages: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits, each (B, num_classes), and maps of the last stage's shape, shallow to deep.

        stages: the maps of a trace; the last one only lends its shape.
        """
        traces = [
            part.trace(f) if isinstance(part, Tail) else part.trace(f, stages[-1])
            for part, f in zip(self.parts, stages)
        ]
        return [t.logits for t in traces], [t.stages[-1] for t in traces]
