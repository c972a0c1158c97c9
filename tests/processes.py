"""Commands and programs in processes of their own: copies of this one, which has imported everything.

A new interpreter would take longer to start than such a command takes.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cohobate.cli import main


class Copy:
    """What a function does in a process group of its own, on one core, begun when it is made.

    pid: of the process, and of its group.
    """

    def __init__(self, work: Callable[[], object], cwd: str | Path = "."):
        self.said = TemporaryDirectory()
        given = (work, Path(cwd), Path(self.said.name))
        self.process = get_context("fork").Process(target=_alone, args=given)
        self.process.start()
        self.pid = self.process.pid or 0

    @property
    def code(self) -> int | None:
        """What it ended with, a signal being a negative number; None while it runs."""
        return self.process.exitcode

    def finish(self, timeout: float = 300) -> tuple[int, str, str]:
        """Waits for its end: its exit code, and what it printed."""
        self.process.join(timeout)
        assert self.code is not None, "it has not ended in time"
        out, err = (Path(self.said.name, name).read_text(encoding="utf-8") for name in STREAMS)
        return self.code, out, err


class Command(Copy):
    """`cohobate ARGUMENTS`."""

    def __init__(self, *arguments: Any, cwd: str | Path = "."):
        super().__init__(partial(_command, [str(argument) for argument in arguments]), cwd)


class Program(Copy):
    """A file of Python, as `python FILE` runs it."""

    def __init__(self, file: Path, cwd: str | Path = "."):
        super().__init__(partial(run_path, str(file), run_name="__main__"), cwd)


STREAMS = ("stdout", "stderr")


def _command(arguments: list[str]) -> None:
    sys.modules["__main__"].__spec__ = find_spec("cohobate.__main__")  # for those that it starts
    sys.argv = ["cohobate", *arguments]
    main()


def _alone(work: Callable[[], object], cwd: Path, said: Path) -> None:
    os.setsid()
    os.chdir(cwd)
    if hasattr(os, "sched_setaffinity"):  # copies of a process with several threads have one
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
    for name in STREAMS:
        file = os.open(said / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, getattr(sys, f"__{name}__").fileno())  # also of what it starts
        setattr(sys, name, os.fdopen(file, "w", encoding="utf-8"))
    work()
