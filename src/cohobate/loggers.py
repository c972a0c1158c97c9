"""What a run tells TensorBoard, Weights & Biases and MLflow: every epoch, and each of them once.

An epoch is told of once its checkpoint is written, so what a logger knows is never ahead of the run;
when a run goes on, a logger is given all rows so far and takes those that it lacks. The step on its
axis is the epoch, counted from 0 as in `metrics.jsonl`.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from cohobate.core import require
from cohobate.rundir import RunDir
from cohobate.tasks import TASKS

Row = dict[str, Any]
NO_DATABASE = " for want of sqlalchemy (read it with MLFLOW_ALLOW_FILE_STORE=true)"
PROJECT = "cohobate"
"""The experiment of MLflow and project of Weights & Biases, where the environment names no other."""


class Logger(Protocol):
    """Begun when it is made, with the settings of the run as hyper-parameters.

    place: where its records lie, for people.
    """

    place: str

    def log(self, row: Row) -> None: ...
    def end(self, done: bool) -> None: ...


class TensorBoard:
    """`tensorboard --logdir RUN_FOLDER` shows it. A run that goes on writes its events anew.

    Its clock is that of training, from the time that the run began: pauses are left out.
    """

    def __init__(self, run: RunDir, settings: dict[str, Any]):
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = run.path / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.place = str(folder)
        self.clock = datetime.fromisoformat(run.facts()["date"]).timestamp()
        self.writer: Any = SummaryWriter(folder, purge_step=0)
        score = f"test/{TASKS[settings['task']].score}"
        for summary in hparams(_plain(settings), {score: None}):
            self.writer.file_writer.add_summary(summary)

    def log(self, row: Row) -> None:
        self.clock += row["seconds"]
        for name, value in _values(row).items():
            self.writer.add_scalar(name, value, row["epoch"], self.clock)
        self.writer.flush()

    def end(self, done: bool) -> None:
        self.writer.close()


class WeightsAndBiases:
    """As WANDB_MODE, WANDB_PROJECT, … say; what it keeps on this machine lies in RUN_FOLDER/wandb.

    Of a run that goes on without a network, the records so far are written anew, in one piece.
    """

    def __init__(self, run: RunDir, settings: dict[str, Any]):
        import wandb

        own = _remembered(run, "wandb") or {"run": secrets.token_hex(4)}
        _remember(run, "wandb", own)
        earlier = [*run.path.glob(f"wandb/offline-run-*-{own['run']}*")]
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=str(run.path),
            id=own["run"],
            dir=run.path,
            config=settings,
            allow_val_change=True,
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        for folder in earlier:
            shutil.rmtree(folder)
        self.place = str(Path(self.run.dir).parent) if self.run.offline else str(self.run.url)

    def log(self, row: Row) -> None:
        if row["epoch"] >= self.run.starting_step:
            self.run.log(_values(row), step=row["epoch"], commit=True)

    def end(self, done: bool) -> None:
        self.run.finish(exit_code=0 if done else 1)


class MLflow:
    """At MLFLOW_TRACKING_URI, else where MLflow keeps runs by default in the folder that one is in.

    That is `mlflow.db`; or `mlruns`, where only mlflow-skinny without a database is installed. The
    experiment is MLFLOW_EXPERIMENT_NAME.
    """

    def __init__(self, run: RunDir, settings: dict[str, Any]):
        from mlflow import MlflowClient
        from mlflow.entities import Param

        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        own = _remembered(run, "mlflow")
        store = _store(own)
        self.client = MlflowClient(store, store)
        if own.get("store") != store:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            there = self.client.get_experiment_by_name(name)
            experiment = there.experiment_id if there else self.client.create_experiment(name)
            started = self.client.create_run(experiment, run_name=str(run.path))
            own = {"store": store, "run": started.info.run_id}
            values = [Param(key, str(value)[:6000]) for key, value in settings.items()]
            for first in range(0, len(values), 100):  # as many as a call may hold
                self.client.log_batch(own["run"], params=values[first : first + 100])
            _remember(run, "mlflow", own)
        lacks = NO_DATABASE if _is_bare() and store.startswith("file:") else ""
        self.run, self.place = own["run"], f"{store}{lacks}, run {own['run']}"
        self.client.update_run(self.run, status="RUNNING")
        self.known = {
            name: {metric.step for metric in self.client.get_metric_history(self.run, name)}
            for name in self.client.get_run(self.run).data.metrics
        }

    def log(self, row: Row) -> None:
        from mlflow.entities import Metric

        now, step = int(1000 * time.time()), row["epoch"]
        missing = [
            Metric(name, value, now, step)
            for name, value in _values(row).items()
            if step not in self.known.get(name, ())
        ]
        self.client.log_batch(self.run, metrics=missing)

    def end(self, done: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if done else "KILLED")


LOGGERS: dict[str, Callable[[RunDir, dict[str, Any]], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
"""By the names that `log` takes; each is that of the package and of the extra, too."""


def check(names: Iterable[str]) -> None:
    """Raises ValueError where the package of a logger is not installed."""
    for name in names:
        require(f'log=["{name}"]', name, [name])


class Loggers:
    """All loggers of a run. One that fails is told of once and left; the training goes on."""

    def __init__(self, names: Sequence[str], run: RunDir, say: Callable[[str], None]):
        self.names, self.run, self.say = tuple(dict.fromkeys(names)), run, say
        self.open = dict[str, Logger]()

    @contextmanager
    def following(self, settings: dict[str, Any], rows: Sequence[Row]) -> Iterator[None]:
        """While it is entered, `log` reaches the loggers; they begin with the rows so far."""
        done = False
        for name in self.names:
            with self._failing_alone(name):
                self.open[name] = LOGGERS[name](self.run, settings)
                self.say(f"log: {name}, in {self.open[name].place}")
                for row in rows:
                    self.open[name].log(row)
        try:
            yield
            done = True
        finally:
            for name, logger in [*self.open.items()]:
                with self._failing_alone(name):
                    logger.end(done)

    def log(self, row: Row) -> None:
        """Tells an epoch."""
        for name, logger in [*self.open.items()]:
            with self._failing_alone(name):
                logger.log(row)

    @contextmanager
    def _failing_alone(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.open.pop(name, None)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self.say(
                f"warning: the logger {name} failed and is left ({reason}); training goes on, and"
                " when it is done the same command tells the logger what it lacks"
            )


def _values(row: Row) -> dict[str, float]:
    """What a row says of its epoch."""
    return {name: float(value) for name, value in row.items() if name != "epoch"}


def _plain(settings: dict[str, Any]) -> dict[str, bool | float | str]:
    """Settings as TensorBoard takes them: a list as text."""
    known = (bool, int, float, str)
    return {k: v if isinstance(v, known) else str(v) for k, v in settings.items()}


def _store(own: dict[str, str]) -> str:
    """Where MLflow keeps the run: as the environment says, else where it was begun."""
    import mlflow

    uri = mlflow.get_tracking_uri()
    if "MLFLOW_TRACKING_URI" in os.environ:
        return uri
    if own:
        return own["store"]
    database = uri.startswith("sqlite:")
    return Path("mlruns").absolute().as_uri() if database and _is_bare() else uri


def _is_bare() -> bool:
    """Whether MLflow keeps runs in a folder as it lacks what a database needs."""
    return "MLFLOW_TRACKING_URI" not in os.environ and not find_spec("sqlalchemy")


def _remembered(run: RunDir, name: str) -> dict[str, str]:
    """What a logger left in the run folder to find its own run again."""
    return run.read(run.loggers).get(name, {})


def _remember(run: RunDir, name: str, own: dict[str, str]) -> None:
    known = {**run.read(run.loggers), name: own}
    run.write(run.loggers, json.dumps(known, indent=2) + "\n")
