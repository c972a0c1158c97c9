"""Several processes on one machine: one voice, the same numbers as on one, and a common end."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cohobate.outcomes import Outcomes
from places import SMOKE
from processes import Command

pytestmark = pytest.mark.slow

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def on_two(*arguments) -> tuple[int, str, str]:
    return Command("train", SMOKE, *arguments, "--devices", 2).finish()


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    """48 images to train on, 31 to validate, and a single one to test: fewer than processes."""
    root, random = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    for name, count in (("train", 48), ("val", 31), ("test", 1)):
        labels = np.arange(count) % 3
        images = labels[:, None, None] * 60 + random.integers(0, 90, (count, 16, 16))
        np.savez(root / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    return root


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory) -> tuple[Path, str]:
    """A run with an average of the weights on two processes, and what it said."""
    run = tmp_path_factory.mktemp("two") / "run"
    given = ("data.name=npz", f"data.root={arrays}", "data.batch_size=8", "optim.ema=0.9")
    code, out, err = on_two(*given, "method.name=mixskd", "optim.warmup=5", "--out", run)
    assert code == 0, err
    return run, out


def test_every_sentence_is_said_once(trained):
    lines = trained[1].splitlines()
    for words in ("optim.warmup was cut", "copies of the remaining stages", "epoch 2/2"):
        assert len([line for line in lines if words in line]) == 1, trained[1]


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_average_scores_the_same_on_one_process(trained, cohobate, split):
    """Also on a single image, of which one of the two processes has none."""
    run, _ = trained
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    ran = cohobate("evaluate", run, "--split", split)
    assert ran.code == 0, ran.err
    said = dict(re.findall(r"^(\w+) +([\d.]+)", ran.out, re.MULTILINE))
    for name in ("top1", "balanced", "ece"):
        assert float(said[name]) == pytest.approx(100 * row[f"{split}/{name}"], abs=0.006), name
    assert float(said["nll"]) == pytest.approx(row[f"{split}/nll"], abs=2e-4)
    averaged, raw = (load_file(run / f"{name}.safetensors") for name in ("model", "raw"))
    assert any((averaged[key] != raw[key]).any() for key in raw)


def test_a_mistake_is_told_once(tmp_path):
    code, out, err = on_two("data.batch_size=33", "--out", tmp_path / "run")
    assert code == 2
    assert err.count("cohobate: ") == 1
    assert "data.batch_size=33 cannot be divided among 2 processes" in err
    assert out == ""


def test_a_weight_that_is_not_finite_ends_all_processes_alike(tmp_path, monkeypatch):
    """In the first step the loss is finite and its weights are not: nothing is saved or goes on."""
    monkeypatch.setenv("COHOBATE_TRACEBACK", "1")  # what each of them ends with
    wild = ("optim.lr=1e45", "optim.clip=0", "checkpoint_every=1", "precision=float32")
    code, _, err = on_two(*wild, "--out", tmp_path / "run")
    assert code == 1
    sentence = "a weight after step 0 is not finite; no state was saved yet"
    assert err.count(f"FloatingPointError: {sentence}") == 2, err
    assert err.count(f"cohobate: {sentence}") == 1
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_teacher_teaches_on_two(smoke, tmp_path):
    given = ("data.per_class=8", "data.batch_size=16", "optim.epochs=1")
    assert smoke(tmp_path / "teacher", *given, "optim.lr=1e-9").code == 0
    student = ("method.name=kd", f"method.teacher={tmp_path / 'teacher'}")
    code, out, err = on_two(*given, *student, "--out", tmp_path / "run")
    assert code == 0, err
    assert out.count("no better than chance") == 1


@pytest.fixture(scope="module")
def one_core():
    """One processor core for all that is started: as many threads on a machine as in a process."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind a process to a core")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


REMEMBERING = ("data.per_class=8", "data.batch_size=16", "optim.epochs=1", "method.name=pskd")


@pytest.fixture(scope="module")
def remembering(one_core, tmp_path_factory) -> Path:
    """A run on two processes whose method keeps what it said of each image."""
    run = tmp_path_factory.mktemp("remembering") / "run"
    code, _, err = on_two(*REMEMBERING, "--out", run)
    assert code == 0, err
    return run


def test_what_two_remember_is_all_of_it(remembering):
    """Each has seen half of the images; the memory that is kept holds what both said of them."""
    state = torch.load(remembering / "last.ckpt", weights_only=True)["method"]
    assert state["memory.steps"].min() >= 0
    torch.testing.assert_close(state["memory.rows"].sum(1), torch.ones(80))
    assert not any("memory" in key for key in load_file(remembering / "method.safetensors"))


def test_the_answers_of_two_are_all_of_them(remembering):
    """Each process has scored every other test image; the file holds what both of them saw."""
    file = remembering / "outcomes.json"
    outcomes = Outcomes.of(json.loads(file.read_text(encoding="utf-8")))
    row = json.loads((remembering / "metrics.jsonl").read_text(encoding="utf-8"))
    assert outcomes.score == pytest.approx(row["test/top1"], abs=1e-6)
    assert min(outcomes.right[::2].sum(), outcomes.right[1::2].sum()) > 0


def test_two_machines_give_the_same_weights(remembering, tmp_path):
    """Two machines of a process each, as torchrun sees them: here both are this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = tmp_path / "two"
    place = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1")
    place += ("--master-port", str(port))
    command = ("-m", "cohobate", "train", str(SMOKE), *REMEMBERING, "--out", str(run))
    nodes = [
        subprocess.Popen([*TORCHRUN, *place, "--node-rank", rank, *command], stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    for node in nodes:
        _, err = node.communicate(timeout=300)
        assert node.returncode == 0, err.decode()
    one, two = (load_file(folder / "model.safetensors") for folder in (remembering, run))
    assert all((one[key] == two[key]).all() for key in one)
    facts = json.loads((run / "environment.json").read_text())
    assert facts["devices"] == 2
