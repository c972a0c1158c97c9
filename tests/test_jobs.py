"""Several runs at a time: all are trained, one that fails does not hurt the others, and all can be stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from cohobate import planning
from cohobate.display import Lines
from cohobate.earlier import earlier
from cohobate.jobs import Job, Relay, following, side_by_side
from places import SMOKE

TINY = ["optim.epochs=1", "data.per_class=8", "data.batch_size=16", "compile=false"]


def jobs(folder: Path, *settings: str, **sweeps) -> list[Job]:
    planned = planning.plan([SMOKE], [*TINY, *settings], sweeps)
    return [Job(str(run.name), run.config, folder / run.name) for run in planned]


@pytest.fixture
def one_core():
    """Two threads round otherwise than one does."""
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        yield
        os.sched_setaffinity(0, allowed)
    else:
        yield


def test_a_run_waits_for_the_one_that_it_starts_from(tmp_path):
    teacher, other = jobs(tmp_path, **{"optim.lr": [0.1, 0.2]})
    student = Job("student", teacher.config, tmp_path / "student", frozenset({teacher.folder}))
    assert following([student, teacher, other], []) is teacher
    assert following([student, other], [teacher]) is other
    assert following([student], [teacher]) is None
    assert following([student], [other]) is student
    named = {"init": str(teacher.folder)}
    assert earlier(teacher.config.model_copy(update=named)) == {teacher.folder.resolve()}


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_others_alone(one_core, smoke, tmp_path, capsys):
    """They end as a run does that is trained alone."""
    assert smoke(tmp_path / "alone", *TINY, "optim.clip=0", "optim.lr=0.1").code == 0
    wanted = jobs(tmp_path, "optim.clip=0", **{"optim.lr": [1e30, 0.1]})
    failed = side_by_side(wanted, 2, Lines(each_epoch=False))
    assert {*failed} == {"supervised-lr=1e+30/seed0"}
    assert "is not finite" in failed["supervised-lr=1e+30/seed0"]
    said = capsys.readouterr().out.splitlines()
    assert "supervised-lr=0.1/seed0: begins" in said
    assert any(line.startswith("supervised-lr=0.1/seed0: done: test top-1 ") for line in said)
    assert any(line.startswith("supervised-lr=1e+30/seed0: failed: ") for line in said)
    run = tmp_path / "supervised-lr=0.1" / "seed0"
    if hasattr(os, "sched_getaffinity"):
        facts = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        assert facts["threads"] == 1
        ends = [(folder / "model.safetensors").read_bytes() for folder in (run, tmp_path / "alone")]
        assert ends[0] == ends[1]


@pytest.mark.slow
def test_a_signal_stops_all_and_keeps_their_checkpoints(tmp_path):
    settings = ("optim.epochs=500", *TINY[1:])
    out = tmp_path / "out"
    wanted = ("--jobs", "2", "--methods", "supervised,mixup,cskd", "--out", str(out))
    command = [sys.executable, "-m", "cohobate", "compare", str(SMOKE), *settings, *wanted]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    folders = [out / "runs" / name / "seed0" for name in ("supervised", "mixup")]
    limit = time.monotonic() + 240
    while not all((folder / "last.ckpt").exists() for folder in folders):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert "supervised/seed0: stopped" in said and "mixup/seed0: stopped" in said
    assert "stopped by SIGINT in 2 runs, 1 not begun; nothing is lost" in said
    for folder in folders:
        rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert 0 < len(rows) < 500
        assert not (folder / "model.safetensors").exists()


def test_a_run_whose_parent_was_killed_tells_nobody(tmp_path):
    heard, tells = Pipe(duplex=False)
    relay = Relay(tells)
    relay.say("one")
    assert heard.recv() == ("say", "one")
    heard.close()
    relay.say("two")
    relay.begin(1, 3, 0, 10)


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_of(tmp_path, monkeypatch):
    (job,) = jobs(tmp_path, "optim.epochs=500")
    begun = tmp_path / job.name / "last.ckpt"

    class Killer(Lines):
        def say(self, sentence: str) -> None:
            pass

    import cohobate.jobs as module

    heard = module._has_ended

    def kill_once(job, board):
        if begun.exists() and job.process.is_alive():
            os.kill(job.process.pid, signal.SIGKILL)
        return heard(job, board)

    monkeypatch.setattr(module, "_has_ended", kill_once)
    failed = side_by_side([job], 1, Killer())
    assert failed == {job.name: "its process was ended, most likely for want of memory"}
