"""What a trained network is worth, looked at from all sides: `cohobate evaluate`."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from cohobate import build, fast
from cohobate.analysis import scoring
from cohobate.analysis.embedding import outputs
from cohobate.analysis.fidelity import Fidelity, fidelity
from cohobate.analysis.scoring import ClassScores
from cohobate.core import Batch
from cohobate.data.loader import EvalLoader
from cohobate.data.splits import Split
from cohobate.display import Lines
from cohobate.machine import Machine
from cohobate.models import Classifier
from cohobate.trained import Trained, check_classes, named_network, open_network, own_teacher


@dataclass(frozen=True)
class Wanted:
    """What an evaluation looks at, besides the scores that are always told.

    split: train, val or test.
    teacher: whom the network is compared with, as `trained.named_network` names it; None is the run's own.
    """

    split: str = "test"
    teacher: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was found out about one network on one split; accuracies and other shares in [0, 1].

    classes, confusion: of each class, and how many of its images (down) were taken for which (across).
    """

    network: str
    data: str
    split: str
    images: int
    size: int
    precision: str
    scores: dict[str, float]
    teacher: Fidelity | None = None
    classes: list[ClassScores] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)


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
        """The images of a split, while a person sees how far it is."""
        config = self.trained.config
        given = {"size": self.trained.data.size, "batch_size": config.eval.batch_size, **options}
        loader = EvalLoader(split, device=self.fabric.device, workers=config.data.workers, **given)
        return self.display.track(f"{what}: {len(split):,} images", loader)

    def logits(self, what: str, split: Split, network: Classifier | None = None) -> Tensor:
        """What the network, or another one, says of a split: (N, C), on the device."""
        seen = outputs(network or self.network, self.batches(what, split), self.fabric.autocast())
        return seen.logits


def evaluate(
    source: str, wanted: Wanted, *, overrides: Sequence[str] = (), display: Lines
) -> Evaluation:
    """Looks at a network: a run's, or any other of timm's, as `trained.open_network` opens it.

    overrides: settings such as `data.root=…`, to look at it on other data of the same classes.
    Raises ValueError where there is no network, or what is wanted is not there.
    """
    trained = open_network(source, overrides)
    split = trained.split(wanted.split)
    teacher = _teacher(trained, wanted.teacher)
    stand = Stand(trained, display)
    targets = split.targets.to(stand.fabric.device)
    logits = stand.logits(wanted.split, split)
    return Evaluation(
        network=source,
        data=trained.data.name,
        split=wanted.split,
        images=len(split),
        size=trained.data.size,
        precision=stand.machine.precision,
        scores=scoring.scores(logits, targets),
        teacher=_fidelity(stand, teacher, split, logits),
        classes=scoring.by_class(logits, targets, trained.data.classes),
        confusion=scoring.confusion(logits, targets).tolist(),
    )


def _teacher(trained: Trained, wanted: str | None) -> tuple[str, Classifier] | None:
    """The teacher that was asked for, or the run's own. Raises ValueError for one of other classes."""
    if wanted is None:
        return own_teacher(trained)
    network = named_network(wanted)
    check_classes(f"--teacher {wanted}", network, trained.data)
    if network.size != trained.data.size:
        build.check_size(network, trained.data.size)
    return wanted, network


def _fidelity(
    stand: Stand, teacher: tuple[str, Classifier] | None, split: Split, logits: Tensor
) -> Fidelity | None:
    if teacher is None:
        return None
    name, network = teacher
    taught = stand.logits(f"teacher {name}", split, stand.ready(network))
    return fidelity(name, taught, logits, split.targets.to(logits.device))


def write(found: Evaluation, out: Path, command: str) -> None:
    """Writes `scores.json`, `per_class.csv` and `confusion.csv` to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    table = asdict(found)
    classes, confusion = table.pop("classes"), table.pop("confusion")
    text = json.dumps({"command": command, **table}, indent=1, allow_nan=False)
    (out / "scores.json").write_text(text + "\n", encoding="utf-8")
    _write_csv(out / "per_class.csv", [list(classes[0]), *(each.values() for each in classes)])
    names = [each["name"] for each in classes]
    rows = [[name, *counts] for name, counts in zip(names, confusion)]
    _write_csv(out / "confusion.csv", [["true \\ predicted", *names], *rows])


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
