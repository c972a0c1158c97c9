"""What a person sees while a network trains: a progress bar, or a line an epoch without a terminal."""

import time
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.progress import track as tracked
from rich.table import Table
from rich.text import Text

Row = dict[str, Any]
T = TypeVar("T")


def duration(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:04:00."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    tail = f"{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
    return f"{hours}:{tail}" if hours else tail


def number(name: str, value: float) -> str:
    """A score as people read it: shares in percent, the rest with four digits."""
    return (
        f"{value:.4f}" if name.endswith(("nll", "brier", "aurc", "kl")) else f"{100 * value:.2f} %"
    )


HEADLINES = ("/top1", "/miou", "/map")
"""The scores that a line of an epoch tells: the one that counts of each task."""


def summary(row: Row, epochs: int) -> str:
    """One epoch in one line."""
    losses = [
        f"{k.removeprefix('train/')} {v:.3f}" for k, v in row.items() if k.startswith("train/")
    ]
    scores = [
        f"{k} {100 * v:.2f} %"
        for k, v in row.items()
        if k.endswith(HEADLINES) or (k.startswith("test/") and k.endswith("/balanced"))
    ]
    return "  ".join(
        [
            f"epoch {row['epoch'] + 1}/{epochs}",
            *losses,
            *scores,
            f"lr {row['lr']:.4g}",
            f"{row['images_per_second']:.0f} images/s",
            duration(row["seconds"]),
            f"data wait {100 * row['data_wait']:.0f} %",
        ]
    )


def plain(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as aligned columns that are never wrapped, for pipes and log files."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def folded(rows: Iterable[Sequence[str]], width: int) -> list[tuple[str, ...]]:
    """The rows of a table with cells of at most `width` characters: what is left goes on below."""
    columns = [[wrap(cell, width, break_on_hyphens=False) for cell in row] for row in rows]
    return [line for row in columns for line in zip_longest(*row, fillvalue="")]


def show(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table: framed in a terminal, plain elsewhere."""
    console = Console()
    if not console.is_terminal:
        print(plain(headings, rows))
        return
    table = Table(*headings)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


class Lines:
    """For log files and pipes: one line an epoch, where those are wanted."""

    def __init__(self, each_epoch: bool = True) -> None:
        self.each_epoch = each_epoch
        self.epochs = 0

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin(self, epoch: int, epochs: int, done: int, steps: int) -> None:
        self.epochs = epochs

    def step(self, images: int, lr: float, waited: float, losses: dict[str, float]) -> None: ...

    def end(self, row: Row) -> None:
        if self.each_epoch:
            print(summary(row, self.epochs), flush=True)

    def say(self, sentence: str) -> None:
        print(sentence, flush=True)

    def track(self, sentence: str, parts: Iterable[T]) -> Iterable[T]:
        """The parts of some work, one after another, while a person sees how far it is."""
        self.say(sentence)
        return parts


class Silent(Lines):
    """For every process but the first."""

    def end(self, row: Row) -> None: ...

    def say(self, sentence: str) -> None: ...


class TwoLines(Progress):
    """A progress bar with the losses in a line of their own below, cut where the terminal ends."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["losses"], style="dim", no_wrap=True, overflow="ellipsis")


class Bar(Lines):
    """For a terminal: a bar over the whole run, with rate, losses, time left and data wait."""

    def __init__(self, console: Console, each_epoch: bool = True):
        super().__init__(each_epoch)
        columns = [
            TextColumn("[bold]epoch {task.fields[epoch]}"),
            BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rate]}"),
        ]
        self.progress = TwoLines(*columns, console=console, refresh_per_second=4)
        blank: dict[str, Any] = {"epoch": "", "rate": "", "losses": ""}
        self.task = self.progress.add_task("", total=1, **blank)
        self.images = self.steps = 0
        self.began = 0.0

    def __enter__(self) -> "Bar":
        self.images = self.steps = 0
        self.began = time.perf_counter()
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, epoch: int, epochs: int, done: int, steps: int) -> None:
        self.epochs = epochs
        self.progress.update(
            self.task,
            total=epochs * steps,
            completed=epoch * steps + done,
            epoch=f"{epoch + 1}/{epochs}",
        )

    def step(self, images: int, lr: float, waited: float, losses: dict[str, float]) -> None:
        self.images, self.steps = self.images + images, self.steps + 1
        passed = time.perf_counter() - self.began
        self.progress.advance(self.task)
        task = self.progress.tasks[0]
        remaining = (task.total or 0) - task.completed
        rate = f"{self.images / passed:.0f} images/s"
        left = f"{duration(remaining * passed / self.steps)} left"
        self.progress.update(self.task, rate=f"{rate}  {left}  data wait {100 * waited:.0f} %")
        if losses:
            terms = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            self.progress.update(self.task, losses=f"  lr {lr:.3g}  {terms}")

    def end(self, row: Row) -> None:
        if self.each_epoch:
            line = summary(row, self.epochs)
            self.progress.console.print(line, style="dim", highlight=False)

    def say(self, sentence: str) -> None:
        self.progress.console.print(sentence, highlight=False, markup=False)

    def track(self, sentence: str, parts: Iterable[T]) -> Iterable[T]:
        return tracked(parts, escape(sentence), console=self.progress.console)
