"""What a trained network is worth, looked at from all sides: `cohobate evaluate`."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cohobate import build, defaults
from cohobate.analysis import ood, scoring, stress
from cohobate.analysis.fidelity import Fidelity, fidelity
from cohobate.analysis.ood import Detection
from cohobate.analysis.robustness import accuracies
from cohobate.analysis.scoring import ClassScores
from cohobate.analysis.stress import Stress
from cohobate.core import Batch, unknown
from cohobate.data.corrupted import Corrupted
from cohobate.data.splits import Split
from cohobate.display import Lines
from cohobate.elsewhere import OnAnother, learnt, prepared, strangers
from cohobate.machine import environment
from cohobate.models import Classifier
from cohobate.scene import draw
from cohobate.scores import by_name
from cohobate.stand import Stand
from cohobate.tasks import TASKS
from cohobate.trained import Trained, check_classes, named_network, open_network, own_teacher

TABLES = ("per_class.csv", "confusion.csv")
"""What is written besides the scores, where images are of a class."""


@dataclass(frozen=True)
class Wanted:
    """What an evaluation looks at, besides the scores that are always told.

    split: train, val or test.
    teacher: whom the network is compared with, as `trained.named_network` names it; None is the run's own.
    on: data sets that its features are tried on, each NAME or NAME:ROOT; shots: images of each class
        to learn them from, beside all; draws: how often these are drawn.
    robustness: of `stress.KINDS`; corrupted: the folder of a published set; images: how many of the
        split are changed, at most.
    ood: data sets that it should tell from its own, each NAME or NAME:ROOT.

    Raises ValueError for a kind of robustness that there is not, or shots below one.
    """

    split: str = "test"
    teacher: str | None = None
    on: Sequence[str] = ()
    shots: Sequence[int] = (1, 5, 10)
    draws: int = 5
    robustness: Sequence[str] = ()
    corrupted: Path | None = None
    images: int = 1000
    ood: Sequence[str] = ()

    def __post_init__(self) -> None:
        for kind in self.robustness:
            if kind not in stress.KINDS:
                raise unknown("kind of --robustness", kind, stress.KINDS)
        for shots in self.shots:
            if shots < 1:
                raise ValueError(f"--shots {shots} should be 1 or more images of each class")


@dataclass(frozen=True)
class Robustness:
    """Top-1 in [0, 1] on changed images: how many of the split, their top-1 before, and after."""

    images: int
    clean: float
    tests: dict[str, Stress]


@dataclass(frozen=True)
class Evaluation:
    """What was found out about one network on one split; accuracies and other shares in [0, 1].

    size: of the images, in pixels. fingerprint: of the split, as in a run's splits.json. notes: what
    was said of the images. environment: command, versions, machine and precision. corrupted: on all
    images of a published set.
    classes, confusion: of each class, and how many of its images (down) were taken for which (across).
    """

    network: str
    data: str
    split: str
    images: int
    size: int
    fingerprint: str
    notes: list[str]
    environment: dict[str, Any]
    scores: dict[str, float]
    teacher: Fidelity | None = None
    on: dict[str, OnAnother] = field(default_factory=dict)
    robustness: Robustness | None = None
    corrupted: Stress | None = None
    ood: dict[str, dict[str, Detection]] = field(default_factory=dict)
    classes: list[ClassScores] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)


def evaluate(
    source: str, wanted: Wanted, *, overrides: Sequence[str] = (), display: Lines
) -> Evaluation:
    """Looks at a network: a run's, or any other of timm's, as `trained.open_network` opens it.

    overrides: settings such as `data.root=…`, to look at it on other data of the same classes.
    Raises ValueError where there is no network, or what is wanted is not there.
    """
    trained = open_network(source, overrides)
    split, shown = trained.split(wanted.split), defaults.shown(trained.config)
    notes = _told([*trained.notes(wanted.split), *_assumed(source, trained, overrides)], display)
    if not TASKS[trained.config.task].answers:
        return _scored(source, trained, wanted, shown, notes, display)
    teacher = _teacher(trained, wanted.teacher)
    others = {name: strangers(name, split, trained.data.size) for name in wanted.ood}
    on = {name: prepared(name, trained.network, wanted.shots) for name in wanted.on}
    corrupted = wanted.corrupted and Corrupted(
        wanted.corrupted, trained.data.classes, trained.data.size
    )
    told = [f"--ood {name}: {note}" for name, data in others.items() for note in data.notes]
    told += [f"--on {name}: {note}" for name, other in on.items() for note in other.data.notes]
    told += corrupted.notes if corrupted else []
    notes += _told(told, display)
    stand = Stand(trained, display)
    targets, logits = split.targets, stand.logits(wanted.split, split)
    return Evaluation(
        network=source,
        data=trained.data.name,
        split=wanted.split,
        images=len(split),
        size=trained.data.size,
        fingerprint=split.fingerprint(),
        notes=notes,
        environment=environment(stand.machine),
        scores=scoring.scores(logits, targets),
        teacher=_fidelity(stand, teacher, split, logits),
        ood={
            name: ood.detect(logits, stand.logits(name, each.test)) for name, each in others.items()
        },
        robustness=_robustness(stand, split, wanted),
        corrupted=corrupted
        and stress.published(stand.network, corrupted, partial(stand.batches, share=1.0)),
        on={
            name: learnt(stand.network, each, wanted.shots, wanted.draws)
            for name, each in on.items()
        },
        classes=scoring.by_class(logits, targets, trained.data.classes),
        confusion=scoring.confusion(logits, targets).tolist(),
    )


def _told(notes: list[str], display: Lines) -> list[str]:
    """The notes, once a person has been told them."""
    for note in notes:
        display.say(note)
    return notes


def _scored(
    source: str,
    trained: Trained,
    wanted: Wanted,
    shown: dict[str, Any],
    notes: list[str],
    display: Lines,
) -> Evaluation:
    """The scores alone, of a task whose images are not answered as a whole. Raises ValueError.

    shown: how images are shown to the network, as `defaults.shown` has it. notes: of the evaluation.
    """
    given = {
        name: getattr(wanted, name) for name in ("teacher", "on", "robustness", "corrupted", "ood")
    }
    if strange := [f"--{name}" for name, value in given.items() if value]:
        raise ValueError(
            f"{source} is a run of task={trained.config.task}, and {strange[0]} is for classification:"
            " leave it out"
        )
    task, config = TASKS[trained.config.task], trained.config
    stand, split = Stand(trained, display), trained.split(wanted.split)
    batches = task.eval_loader(
        split, size=trained.data.size, device=stand.fabric.device, workers=config.data.workers
    )
    batches = display.track(f"{wanted.split}: {len(split):,} images", batches)
    return Evaluation(
        network=source,
        data=trained.data.name,
        split=wanted.split,
        images=len(split),
        size=trained.data.size,
        fingerprint=split.fingerprint(),
        notes=notes,
        environment=environment(stand.machine),
        scores=by_name(
            task.evaluate(stand.network, batches, stand.fabric.autocast(), **shown),
            trained.data.classes,
        ),
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
    return fidelity(name, taught, logits, split.targets)


def _robustness(stand: Stand, split: Split, wanted: Wanted) -> Robustness | None:
    """All in float32, as attacks need it; in batches as small as those of training."""
    if not wanted.robustness:
        return None
    rows = draw(torch.arange(len(split)), wanted.images)
    some, ids = split.take(rows), rows.to(stand.fabric.device)
    size = stand.trained.config.data.batch_size

    def batches(kind: str) -> Iterator[Batch]:
        for batch in stand.batches(kind, some, batch_size=size):
            yield batch._replace(ids=ids[batch.ids])  # as in the whole split

    (clean,) = accuracies(stand.network, batches("clean"), [stress.same])
    return Robustness(
        images=len(some),
        clean=clean,
        tests={
            kind: stress.KINDS[kind](stand.network, batches(kind)) for kind in wanted.robustness
        },
    )


def _assumed(source: str, trained: Trained, overrides: Sequence[str]) -> list[str]:
    """How images are shown to the network of a checkpoint file, which does not tell, where not all is given."""
    given = {setting.partition("=")[0].strip() for setting in overrides}
    if not trained.run.path.is_file() or given >= {"data.size", "model.mean", "model.std"}:
        return []
    mean, std = (
        [round(each, 3) for each in trained.network.get_buffer(name).flatten().tolist()]
        for name in ("mean", "std")
    )
    return [
        f"{source} does not tell how its images were made: {trained.data.size} pixels, mean {mean}"
        f" and standard deviation {std} are taken, unless data.size, model.mean and model.std say"
        " otherwise"
    ]


def write(found: Evaluation, out: Path) -> list[str]:
    """Writes `scores.json` to a folder; where images are of a class, `per_class.csv` and `confusion.csv`.

    Where they are not, such tables of another evaluation go. Returns the names of the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    table = asdict(found)
    classes, confusion = table.pop("classes"), table.pop("confusion")
    text = json.dumps(table, indent=1, allow_nan=False)
    (out / "scores.json").write_text(text + "\n", encoding="utf-8")
    if not classes:
        for name in TABLES:
            (out / name).unlink(missing_ok=True)  # of another evaluation
        return ["scores.json"]
    names = [each["name"] for each in classes]
    rows = [[name, *counts] for name, counts in zip(names, confusion)]
    _write_csv(out / TABLES[0], [list(classes[0]), *(each.values() for each in classes)])
    _write_csv(out / TABLES[1], [["true \\ predicted", *names], *rows])
    return ["scores.json", *TABLES]


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
