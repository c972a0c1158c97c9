"""Commands in processes of their own: copies of this one, which has imported everything already.

A new interpreter would take longer to start than such a command takes.
"""

import os
import sys
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cohobate.cli import main


class Command:
    """`cohobate ARGUMENTS` in a process group of its own, on one core, begun when it is made.

    pid: of the process, and of its group.
    """

    def __init__(self, *arguments: Any, cwd: str | Path = "."):
        self.said = TemporaryDirectory()
        given = ([str(argument) for argument in arguments], Path(cwd), Path(self.said.name))
        self.process = get_context("fork").Process(target=_command, args=given)
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


STREAMS = ("stdout", "stderr")


def _command(arguments: list[str], cwd: Path, said: Path) -> None:
    os.setsid()
    os.chdir(cwd)
    if hasattr(os, "sched_setaffinity"):  # copies of a process with several threads have one
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in STREAMS:
        file = os.open(said / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, getattr(sys, f"__{name}__").fileno())  # also of what it starts
        setattr(sys, name, os.fdopen(file, "w", encoding="utf-8"))
    sys.modules["__main__"].__spec__ = find_spec("cohobate.__main__")  # for those that it starts
    sys.argv = ["cohobate", *arguments]
    main()
