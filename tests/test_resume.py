"""A run that was stopped, by whatever means, ends in the same bits as one that never was.

What is stopped is a process of its own; what goes on to the end is this one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from cohobate.engine import Training
from places import SMOKE
from processes import Command

SETTINGS = ("method.name=mixskd", "checkpoint_every=4", "optim.ema=0.9")
SETTINGS += ("data.fraction=0.4", "model.drop_rate=0.1")
EPOCHS = 2


def command(out: Path, *options: str) -> tuple[str, ...]:
    settings = (f"optim.epochs={EPOCHS}", *SETTINGS)
    return ("train", str(SMOKE), *settings, "--out", str(out), *options)


def train_on_two(out: Path) -> None:
    code, _, err = Command(*command(out, "--devices", "2")).finish()
    assert code == 0, err


@pytest.fixture
def go(smoke):
    """The same command, in this process."""
    return lambda out, *options: smoke(out, *SETTINGS, *options, epochs=EPOCHS)


@pytest.fixture
def train(go):
    """`go`, which ends well."""

    def train(out: Path) -> None:
        ran = go(out)
        assert ran.code == 0, ran.err

    return train


def stop(out: Path, number: int, *options: str, once: str = "last.ckpt") -> tuple[int, str, str]:
    """Starts a run and sends it a signal once a file is there: its first checkpoint in an epoch."""
    begun = Command(*command(out, *options))
    for _ in range(2400):
        if (out / once).exists() or begun.code is not None:
            break
        time.sleep(0.02)
    assert begun.code is None, begun.finish()
    if number == signal.SIGKILL:
        os.killpg(begun.pid, number)
    else:
        os.kill(begun.pid, number)
    return begun.finish()


def assert_same(one: Path, two: Path) -> None:
    for name in ("model.safetensors", "method.safetensors", "raw.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    rows = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (one, two)
    ]
    assert [row["epoch"] for row in rows[1]] == [0, 1]
    timing = ("seconds", "images_per_second", "data_wait")
    for a, b in zip(*rows):
        assert {k: v for k, v in a.items() if k not in timing} == {
            k: v for k, v in b.items() if k not in timing
        }


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def whole(train, kept) -> Path:
    """A run that was never stopped, trained once."""
    if not kept.exists():
        train(kept)
    return kept


@pytest.fixture(scope="module")
def whole_on_two(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    train_on_two(out)
    return out


def test_killed_within_an_epoch(whole, train, tmp_path):
    stop(tmp_path / "run", signal.SIGKILL)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    train(tmp_path / "run")
    assert_same(whole, tmp_path / "run")


def test_killed_before_there_is_a_checkpoint(whole, train, tmp_path):
    """Then all begins anew, also where the folder was not yet whole."""
    run = tmp_path / "run"
    stop(run, signal.SIGKILL, "checkpoint_every=0", once="environment.json")
    assert not (run / "last.ckpt").exists()
    shutil.copytree(run, tmp_path / "earlier")
    (tmp_path / "earlier" / "environment.json").unlink()
    for folder in (run, tmp_path / "earlier"):
        train(folder)
        assert_same(whole, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_politely(whole, train, tmp_path, number):
    code, out, err = stop(tmp_path / "run", number)
    assert code == 128 + number
    assert "the same command goes on" in out
    assert err == ""
    train(tmp_path / "run")
    assert_same(whole, tmp_path / "run")


@pytest.mark.slow
def test_killed_on_two_processes(whole_on_two, tmp_path):
    stop(tmp_path / "run", signal.SIGKILL, "--devices", "2")
    train_on_two(tmp_path / "run")
    assert_same(whole_on_two, tmp_path / "run")


@pytest.mark.slow
def test_torchrun_gives_the_same_weights(whole_on_two, tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    given = [*torchrun, "-m", "cohobate", *command(tmp_path / "run")]
    done = subprocess.run(given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_same(whole_on_two, tmp_path / "run")


def test_a_finished_run_is_not_trained_again(whole, train):
    before = (whole / "metrics.jsonl").stat().st_mtime_ns
    train(whole)
    assert (whole / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_damaged_checkpoint_is_named_with_the_last_good_one(whole, train, go, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    content = bytearray((run / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (run / "last.ckpt").write_bytes(content)
    ran = go(run)
    assert ran.code == 2
    assert f"{run / 'last.ckpt'} is damaged" in ran.err
    assert f"mv {run / 'previous.ckpt'} {run / 'last.ckpt'}" in ran.err
    shutil.move(run / "previous.ckpt", run / "last.ckpt")
    train(run)
    assert_same(whole, run)


def test_damaged_files_of_a_run_are_named(smoke, tmp_path):
    """Whatever of a student's folder is damaged, and however, going on says which in one sentence."""
    run, teacher = tmp_path / "run", tmp_path / "teacher"
    given = ("data.per_class=8", "data.batch_size=16")
    student = (*given, "method.name=kd", f"method.teacher={teacher}")
    assert smoke(teacher, *given).code == 0
    assert smoke(run, *student).code == 0

    def half(name: str) -> bytes:
        return (run / name).read_bytes()[: (run / name).stat().st_size // 2]

    for name, content in (
        ("frozen.safetensors", half("frozen.safetensors")),
        ("frozen.safetensors", b""),
        ("frozen.safetensors", save({"teacher.net.net.head.fc.bias": torch.zeros(3)})),
        ("config.toml", half("config.toml")),
        ("config.toml", b"\xff"),
        ("environment.json", half("environment.json")),
        ("environment.json", b"[]"),
    ):
        before = (run / name).read_bytes()
        (run / name).write_bytes(content)
        ran = smoke(run, *student)
        assert ran.code == 2, (name, content[:20], ran.out)
        assert ran.err.startswith(f"cohobate: {run / name} is damaged: ")
        assert len(ran.err.splitlines()) == 1
        (run / name).write_bytes(before)
    assert smoke(run, *student).code == 0


def test_a_run_of_other_settings_is_refused_and_the_difference_printed(whole, go):
    ran = go(whole, "optim.lr=0.07")
    assert ran.code == 2
    assert "optim.lr: 0.05 → 0.07" in ran.err


def test_another_machine_is_warned_about(whole, go, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    facts = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**facts, "torch": "2.9.0"}))
    ran = go(run)
    assert ran.code == 0, ran.err
    assert "torch 2.9.0 → " in ran.out


def test_a_signal_in_any_step_loses_no_row(smoke, monkeypatch, tmp_path):
    """Also in the last step of an epoch (14), which has to leave its row behind first."""
    given = ("data.fraction=0.4", "method.name=mixup")
    assert smoke(tmp_path / "whole", *given, epochs=3).code == 0
    before = Training.advance

    def step(self, *arguments):
        before(self, *arguments)
        if self.step in (7, 14):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", step)
    for _ in range(2):
        assert smoke(tmp_path / "cut", *given, epochs=3).code == 128 + signal.SIGTERM
    monkeypatch.setattr(Training, "advance", before)
    assert smoke(tmp_path / "cut", *given, epochs=3).code == 0
    weights = [tmp_path / name / "model.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    rows = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [0, 1, 2]
