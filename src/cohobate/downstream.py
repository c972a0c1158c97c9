"""Networks put to other tasks after pre-training: what is missing is trained, and all of it is scored."""

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from cohobate import build, linear, study, teachers
from cohobate import config as settings
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.runs import Run, parsed, table
from cohobate.analysis.transfers import Column, Transfers, transfers
from cohobate.config import Override, RunConfig
from cohobate.core import unknown
from cohobate.display import Lines
from cohobate.earlier import is_done
from cohobate.machine import Machine, environment
from cohobate.outcomes import Outcomes
from cohobate.planning import Planned
from cohobate.rundir import RunDir, part
from cohobate.tasks import TASKS
from cohobate.train import sampler
from cohobate.transfer import CLASSIFICATION, Source, Transfer


class Pretrained(NamedTuple):
    """The folder of a run, trained or not, and its settings; what follows it has the same seed."""

    path: Path
    config: RunConfig

    @property
    def source(self) -> Source:
        return Source.planned(self.path, self.config)


class Downstream(ABC):
    """What every network of a comparison is put to.

    name: of its folders. data: of the data set. metric: what people call the score that counts.
    """

    name: str
    data: str
    metric: str

    @abstractmethod
    def check(self, network: Pretrained) -> None:
        """Raises ValueError or FileNotFoundError for what can be found wrong before any training."""

    @abstractmethod
    def there(self, network: Pretrained) -> Run | None:
        """What a network scores, where that is known. Raises ValueError where a file is damaged."""

    @abstractmethod
    def carry_out(self, networks: Sequence[Pretrained], display: Lines, at_once: int) -> list[str]:
        """Trains what is missing; returns sentences on what failed. Raises as `study.carry_out` does."""


class Linear(Downstream):
    """Linear evaluation on the data that the settings name.

    Kept in `RUN_FOLDER/transfer/linear-DATA[-KEY=VALUE…]/seedK/`: `config.toml`, and the answers in
    `outcomes.json`.
    """

    metric = f"linear {TASKS[CLASSIFICATION].title}"

    def __init__(self, overrides: Sequence[Override]):
        self.overrides = overrides
        self.data = build.data_name(linear.settled(overrides))
        given = dict(each if isinstance(each, tuple) else settings.pair(each) for each in overrides)
        own = sorted(
            f"{key.split('.')[-1]}={value}"
            for key, value in given.items()
            if key not in (*settings.INERT, "data.name")
        )
        self.name = "-".join(map(part, ["linear", self.data, *own]))

    def check(self, network: Pretrained) -> None:
        if network.config.task != CLASSIFICATION:
            raise ValueError(
                f"transfer linear: {network.path} is a run of task={network.config.task}, and only a"
                " classifier's features can be classified: leave it, or this task, away"
            )
        if build.load_data(self._settings(network)).test is None:
            raise ValueError(f"transfer linear: {self.data} has no test split to score on")

    def there(self, network: Pretrained) -> Run | None:
        run = self._folder(network)
        if not (run.config.is_file() and run.outcomes.is_file()):
            return None
        config = settings.read(run.config)
        if settings.differences(config, self._table(network)):
            return None
        outcomes = parsed(run.outcomes, lambda text: Outcomes.of(table(text)))
        return Run(run.path, config, run.facts(), [{"test/top1": outcomes.score}], outcomes)

    def carry_out(self, networks: Sequence[Pretrained], display: Lines, at_once: int) -> list[str]:
        told = []
        for network in networks:
            run = self._folder(network)
            try:
                given = [*self.overrides, ("seed", network.config.seed)]
                found = linear.opened(Source.of(str(network.path)), given)
                right = linear.right(found).cpu().numpy()
            except (ValueError, FileNotFoundError) as error:
                told.append(f"{run.path}: left out: {error}")
                continue
            outcomes = Outcomes(found.data.test.fingerprint(), right)
            run.write(run.outcomes, json.dumps(outcomes.table()) + "\n")
            facts = environment(Machine.of(run, found.config, 1))
            run.write(run.environment, json.dumps(facts, indent=2) + "\n")
            run.write(run.config, tomli_w.dumps(self._table(network)))
            display.say(f"{run.path}: {self.metric} {100 * outcomes.score:.2f} %")
        return told

    def _folder(self, network: Pretrained) -> RunDir:
        return RunDir(network.path / "transfer" / self.name / f"seed{network.config.seed}")

    def _settings(self, network: Pretrained) -> RunConfig:
        return linear.settled([*self.overrides, ("seed", network.config.seed)])

    def _table(self, network: Pretrained) -> dict[str, Any]:
        whole = self._settings(network).model_dump(mode="json", exclude_none=True)
        return {key: whole[key] for key in ("seed", "data", "optim", "eval")}


class Training(Downstream):
    """A training that starts from each network, in the folder that `Transfer.folder` names."""

    def __init__(self, wanted: Transfer):
        self.wanted = wanted
        self.name, self.data = wanted.name, wanted.data
        self.metric = TASKS[wanted.task].title

    def check(self, network: Pretrained) -> None:
        config = self._config(network)
        data = build.load_data(config)
        method, _ = teachers.blueprint(config, data)
        sampler(config, data, method)

    def there(self, network: Pretrained) -> Run | None:
        folder = self._folder(network)
        return Run.read(folder) if is_done(folder, self._config(network)) else None

    def carry_out(self, networks: Sequence[Pretrained], display: Lines, at_once: int) -> list[str]:
        planned, told = list[Planned](), list[str]()
        for network in networks:
            try:
                Source.of(str(network.path))
                planned.append(Planned(self._folder(network), self._config(network)))
            except ValueError as error:
                told.append(f"{self._folder(network)}: left out: {error}")
        return told + study.carry_out(planned, Path(), display, at_once)[1]

    def _folder(self, network: Pretrained) -> Path:
        return self.wanted.folder(network.source, network.config.seed)

    def _config(self, network: Pretrained) -> RunConfig:
        return self.wanted.config(network.source, network.config.seed)


def read(texts: Iterable[str]) -> list[Downstream]:
    """What `--transfer` asks for, each `TASK [KEY=VALUE]...` or `RUN.toml [KEY=VALUE]...`.

    Raises ValueError, for two of one name too: their runs would share folders.
    """
    found: dict[str, Downstream] = {}
    for text in texts:
        try:
            first, *overrides = shlex.split(text) or [""]
        except ValueError as error:
            raise ValueError(
                f"--transfer {text}: a quotation in it is not closed: close it, or put a backslash"
                " before a mark that is none"
            ) from error
        if first == "linear":
            task = Linear(overrides)
        elif first.endswith(".toml"):
            file = Path(first)
            kind = settings.read(file).get("task", CLASSIFICATION)
            task = Training(Transfer.of(kind, overrides, file))
        elif first in TASKS:
            task = Training(Transfer.of(first, overrides))
        else:
            raise unknown("task of --transfer", first, ["linear", *TASKS])
        if task.name in found:
            raise ValueError(
                f"two of --transfer are called {task.name}, and their runs would share folders: leave"
                " one away, rename the folder of its data, or give it as a run file of another name"
            )
        found[task.name] = task
    return [*found.values()]


def pretrained(folders: Iterable[Path]) -> list[Pretrained]:
    """The runs in folders, of those that hold one; of a damaged one the comparison tells."""
    found = []
    for folder in folders:
        try:
            found.append(Pretrained(folder, settings.load(folder)))
        except ValueError:
            continue
    return found


def check(tasks: Sequence[Downstream], networks: Sequence[Pretrained]) -> None:
    """Raises ValueError or FileNotFoundError for a mistake that would else be told after all pre-training."""
    for task in tasks:
        lacking = [network for network in networks if task.there(network) is None]
        for network in {str(each.config.model): each for each in lacking}.values():
            task.check(network)


def carry_out(
    tasks: Sequence[Downstream],
    comparison: Comparison,
    display: Lines,
    at_once: int = 1,
    *,
    train: bool = True,
) -> tuple[Transfers, list[str]]:
    """Puts the networks of a comparison to tasks, where that is not done yet, and to a table.

    train: whether to train what is missing.
    Returns besides sentences on what failed. Raises as `study.carry_out` does.
    """
    networks = pretrained(run.path for run in comparison.runs)
    columns, told, failed = list[Column](), list[str](), list[str]()
    for task in tasks:
        runs, damaged = _found(task, networks)
        missing = [network for network in networks if network.path not in runs]
        if train and missing:
            failed += task.carry_out(missing, display, at_once)
            runs, damaged = _found(task, networks)
        told += damaged
        columns.append(Column(task.name, task.data, task.metric, runs))
    return transfers(comparison, columns, [*failed, *told]), failed


def _found(task: Downstream, networks: Sequence[Pretrained]) -> tuple[dict[Path, Run], list[str]]:
    """The runs that are done, by the folders that they start from, and sentences on damaged ones."""
    runs, told = dict[Path, Run](), list[str]()
    for network in networks:
        try:
            run = task.there(network)
        except ValueError as error:
            told.append(str(error))
            continue
        if run is not None:
            runs[network.path] = run
    return runs, told
