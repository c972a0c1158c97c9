"""A run that was stopped within an epoch and continued ends in the bits of one that never was.

Whatever the method: those that keep more from step to step than weights, or want batches of their
own, are tried; that the state of every other one is whole, and that it draws nothing itself, is in
test_contract.py.
"""

import inspect
import os
import shutil
import signal
from pathlib import Path
from typing import get_type_hints

import pytest

from cohobate.core import Method
from cohobate.engine import Training
from cohobate.methods import METHODS
from places import CLASSIFYING

SMALL = ("data.per_class=8", "data.batch_size=16", "data.size=16", "optim.ema=0.9")
SMALL += ("compile=false",)  # which would be found not to pay, after a trial in each of the runs
NAMES = {kind: name for name, kind in METHODS.items()}
TEACHERS = {
    name: NAMES.get(get_type_hints(kind.__init__)["teacher"], "supervised")
    for name, kind in METHODS.items()
    if "teacher" in inspect.signature(kind).parameters
}
"""The method that trains the teacher of one that takes it."""
KEEPING = [
    name
    for name in CLASSIFYING
    if METHODS[name].after_step is not Method.after_step
    or METHODS[name].companions
    or METHODS[name].repeats
    or "samples" in inspect.signature(METHODS[name]).parameters
]
NAMED = sorted({*KEEPING, "bake", "frskd", "hsakd", "hssakd", "kd", "mixskd", "supervised", "unix"})
STOP = 7
"""The step after which the signal comes: the second of the second epoch."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The folder of trained teachers."""
    return tmp_path_factory.mktemp("teachers")


def assert_same(one, two) -> None:
    for name in ("model.safetensors", "method.safetensors", "raw.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.fixture
def teacher(name, smoke, kept, tmp_path) -> Path | None:
    """A folder with a trained teacher, where the method takes one; each kind is trained once."""
    if name not in TEACHERS:
        return None
    trained = kept / TEACHERS[name]
    if not trained.exists():
        ran = smoke(trained, *SMALL, f"method.name={TEACHERS[name]}")
        assert ran.code == 0, ran.err
    return shutil.copytree(trained, tmp_path / "teacher")


@pytest.mark.parametrize("name", NAMED)
def test_stopped_and_continued(name, teacher, smoke, monkeypatch, tmp_path):
    given = [*SMALL, f"method.name={name}"]
    if teacher:
        given.append(f"method.teacher={teacher}")
    ran = smoke(tmp_path / "whole", *given, epochs=2)
    assert ran.code == 0, ran.err

    before = Training.advance

    def step(self, *arguments):
        before(self, *arguments)
        if self.step == STOP:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", step)
        assert smoke(tmp_path / "cut", *given, epochs=2).code == 128 + signal.SIGTERM
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    if teacher:
        shutil.rmtree(teacher)  # a run that has begun has all of its teacher
    ran = smoke(tmp_path / "cut", *given, epochs=2)
    assert ran.code == 0, ran.err
    assert_same(tmp_path / "whole", tmp_path / "cut")
