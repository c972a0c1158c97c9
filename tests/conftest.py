"""What all tests share: the command line in this process, and real images where they are."""

import gc
import os
import sys
from pathlib import Path

import pytest
import torch

from places import DATA, SMOKE

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    # A core for each of several test processes, and for all that it starts: threads of two that
    # want the same core make torch many times slower.
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[int(worker.removeprefix("gw")) % len(allowed)]})
    torch.set_num_threads(1)  # it has counted the cores by now


def pytest_collection_finish():
    """What is imported by now stays to the end: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


class Ran:
    """How a command ended: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err


@pytest.fixture()
def cohobate(monkeypatch, capsys, tmp_path):
    """Runs a command line in this process, in an empty folder, and returns a `Ran`."""
    from cohobate.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> Ran:
        monkeypatch.setattr(sys, "argv", ["cohobate", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture()
def smoke(cohobate):
    """Trains the smoke run with settings, in a folder, for one epoch unless told."""

    def run(out, *settings, epochs=1) -> Ran:
        return cohobate("train", SMOKE, f"optim.epochs={epochs}", *settings, "--out", out)

    return run


@pytest.fixture(scope="session")
def taught(tmp_path_factory) -> Path:
    """A folder with two runs on a few digits: `student`, and `moved`, which is its teacher.

    The folder that the student knows its teacher by, `teacher`, is gone.
    """
    from cohobate import config, defaults
    from cohobate.display import Silent
    from cohobate.train import train

    folder = tmp_path_factory.mktemp("taught")
    given = {"teacher": (), "student": ("method.name=kd", f"method.teacher={folder / 'teacher'}")}
    for name, settings in given.items():
        few = ("data.per_class=30", "optim.epochs=2", "precision=float32")
        resolved, _ = defaults.resolve(config.load(SMOKE, [*few, *settings]))
        train(resolved, folder / name, devices=1, display=Silent())
    return (folder / "teacher").rename(folder / "moved").parent


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """A folder of all shapes, with their masks and boxes."""
    from cohobate.data.shapes import made

    return made(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture()
def train_shapes(cohobate, shapes):
    """Trains a run file with its settings on the shapes, in a folder, with more settings."""

    def run(file, out, *settings) -> Ran:
        return cohobate("train", *file, f"data.root={shapes}", *settings, "--out", out)

    return run


@pytest.fixture(scope="session")
def few_shapes(tmp_path_factory) -> Path:
    """A folder of shapes with their masks, fifteen pictures in all."""
    from cohobate.data.shapes import made

    folder = made(tmp_path_factory.mktemp("data") / "shapes")
    for name, count in (("train", 12), ("test", 3)):
        file = folder / f"{name}.txt"
        file.write_text("\n".join(file.read_text().split()[:count]))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real image sets; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no image sets in {DATA}; set COHOBATE_TEST_DATA to their folder")
    return DATA
