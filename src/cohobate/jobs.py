"""Several runs at a time, each in a process of its own, on its share of the machine."""

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from cohobate.config import RunConfig
from cohobate.core import counted
from cohobate.display import Bar, Lines, Row, summary
from cohobate.ending import sentence_of
from cohobate.interrupt import Interrupted, Signals
from cohobate.tasks import TASKS
from cohobate.train import train


@dataclass(eq=False)
class Job:
    """A run, under a name for people; while it is trained, its process and what that tells.

    after: the folders of runs that have to end before it begins, where they are among the others.
    end: "done", "stopped" or "failed", and why it failed; once the process has told.
    """

    name: str
    config: RunConfig
    folder: Path
    after: frozenset[Path] = frozenset()
    slot: int = 0
    process: Any = None
    news: Any = None
    end: tuple[str, str] | None = None


def side_by_side(jobs: Sequence[Job], at_once: int, display: Lines) -> dict[str, str]:
    """Trains runs, so many at once; returns the names of those that failed, and why.

    The processor's cores are divided among them, and the GPUs where there are any. Raises
    `Interrupted` on SIGINT and SIGTERM, once every process has saved a checkpoint and ended.
    """
    waiting, running, failed = list(jobs), list[Job](), dict[str, str]()
    asked, stopped = False, 0
    with Board(display) as board, Signals() as signals:
        try:
            while running or (waiting and not signals.received):
                while len(running) < at_once and not signals.received:
                    job = following(waiting, running)
                    if job is None:
                        break
                    waiting.remove(job)
                    job.slot = min({*range(at_once)} - {other.slot for other in running})
                    _start(job, at_once)
                    running.append(job)
                    board.begin(job.name)
                handles = [handle for job in running for handle in (job.news, job.process.sentinel)]
                connection.wait(handles, timeout=0.5)
                for job in [job for job in running if _has_ended(job, board)]:
                    running.remove(job)
                    how, why = job.end or ("stopped", "")
                    board.end(job.name, how, why)
                    stopped += how == "stopped"
                    if how == "failed":
                        failed[job.name] = why
                if signals.received and not asked:
                    for job in running:
                        job.process.terminate()  # it saves a checkpoint first
                    asked = True
        except BaseException:  # a second Ctrl-C does not wait
            for job in running:
                job.process.kill()
            raise
    if signals.received:
        left = f", {len(waiting)} not begun" if waiting else ""
        raise Interrupted(signals.received, counted(stopped, "run") + left)
    return failed


def following(waiting: Sequence[Job], running: Sequence[Job]) -> Job | None:
    """The first that waits for no other."""
    coming = {job.folder.resolve() for job in (*waiting, *running)}
    return next((job for job in waiting if not job.after & (coming - {job.folder.resolve()})), None)


def _context() -> Any:
    """How processes begin: as copies of one that has imported everything, where the system can."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _start(job: Job, at_once: int) -> None:
    context = _context()
    job.news, tells = context.Pipe(duplex=False)
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = allowed[job.slot :: at_once] or allowed[job.slot % max(1, len(allowed)) :][:1]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = given.split(",") if given else [str(n) for n in range(torch.cuda.device_count())]
    gpu = gpus[job.slot % len(gpus)] if gpus else None
    work = (job.config, job.folder, cores, gpu, tells)
    job.process = context.Process(target=_work, args=work, daemon=True)
    job.process.start()
    tells.close()


def _has_ended(job: Job, board: "Board") -> bool:
    """Passes on what a process has told; whether it has ended since, as `job.end` then says."""
    try:
        while job.news.poll():
            kind, *told = job.news.recv()
            if kind == "end":
                job.end = (told[0], told[1])
            else:
                board.show(job.name, kind, *told)
    except EOFError:  # it has closed its side
        job.process.join()
    else:
        return False
    code = job.process.exitcode
    if job.end is None and code != -signal.SIGTERM:
        killed = code == -9  # by the system; Windows has no name for it
        why = "most likely for want of memory" if killed else f"with code {code}"
        job.end = ("failed", f"its process was ended, {why}")
    return True


def _work(
    config: RunConfig, folder: Path, cores: Sequence[int], gpu: str | None, tells: Any
) -> None:
    """What a process does: one training, on some of the cores and one GPU."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches all of a terminal's group; the parent passes it on
    if cores:
        os.sched_setaffinity(0, cores)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()
    end = ("done", "")
    try:
        train(config, folder, devices=1, display=Relay(tells))
    except Interrupted:
        end = ("stopped", "")
    except Exception as error:
        end = ("failed", sentence_of(error)[0])
    _tell(tells, "end", *end)


def _tell(tells: Any, *news: Any) -> None:
    """Sends news to the parent; to none, where that was killed."""
    with suppress(ConnectionError):
        tells.send(news)


def _end_with_parent() -> None:
    """A parent that is killed says nothing: its runs then stop as if it had."""
    parent = parent_process()
    assert parent
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


class Relay(Lines):
    """Tells another process what a person should see of a training: how far it is, and sentences."""

    def __init__(self, tells: Any):
        super().__init__()
        self.tells = tells

    def begin(self, epoch: int, epochs: int, done: int, steps: int) -> None:
        super().begin(epoch, epochs, done, steps)
        _tell(self.tells, "epochs", epoch, epochs, "")

    def end(self, row: Row) -> None:
        _tell(self.tells, "epochs", row["epoch"] + 1, self.epochs, summary(row, self.epochs))

    def say(self, sentence: str) -> None:
        _tell(self.tells, "say", sentence)


class Board:
    """What a person sees of several runs: a bar each in a terminal; elsewhere how each begins and ends."""

    def __init__(self, display: Lines):
        self.display = display
        self.scores, self.tasks = dict[str, str](), dict[str, Any]()
        self.bars: Progress | None = None
        if isinstance(display, Bar):
            columns = [
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[line]}", style="dim"),
            ]
            self.bars = Progress(*columns, console=display.progress.console)

    def __enter__(self) -> "Board":
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars:
            self.bars.stop()

    def begin(self, name: str) -> None:
        if self.bars:
            self.tasks[name] = self.bars.add_task(escape(name), total=1, line="begins")
        else:
            self.display.say(f"{name}: begins")

    def show(self, name: str, kind: str, *told: Any) -> None:
        """What a `Relay` has told."""
        if kind == "say":
            if told[0].startswith("warning"):
                self.display.say(f"{name}: {told[0]}")
            return
        done, epochs, line = told
        self.scores[name] = next(
            (
                part.replace(f"test/{task.score}", f"test {task.title}")
                for task in TASKS.values()
                for part in line.split("  ")
                if part.startswith(f"test/{task.score}")
            ),
            "",
        )
        if self.bars:
            self.bars.update(self.tasks[name], completed=done, total=epochs)
            if line:
                wanted = (*(f"val/{task.score}" for task in TASKS.values()), "images/s")
                short = [p for p in line.split("  ") if any(word in p for word in wanted)]
                self.bars.update(self.tasks[name], line=escape("  ".join(short)))

    def end(self, name: str, how: str, why: str) -> None:
        if self.bars:
            self.bars.remove_task(self.tasks.pop(name))
        more = self.scores.get(name, "") if how == "done" else why
        self.display.say(f"{name}: {how}" + (f": {more}" if more else ""))
