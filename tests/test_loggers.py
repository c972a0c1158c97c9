"""`log = […]`: loggers know every epoch once, whatever happens to a run, and harm none."""

import json
import os
import signal
import struct
import sys
import time
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from cohobate import loggers
from cohobate.config import RunConfig
from cohobate.loggers import LOGGERS, Loggers
from cohobate.rundir import RunDir
from places import SMOKE, rows, smoke_and
from processes import Command

FEW = ("data.per_class=8", "data.batch_size=40")
ALL = 'log=["tensorboard", "wandb", "mlflow"]'

Seen = dict[str, list[tuple[int, float]]]
"""Under each name the steps and values that a logger holds, in its order."""


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """No network, and a store of this test's own."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def in_tensorboard(folder: Path) -> tuple[Seen, set[str]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    seen = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    return seen, {name for name in ("optim.lr", "method.name") if name.encode() in start}


def in_wandb(folder: Path) -> tuple[Seen, set[str]]:
    """From its file: records in blocks of 32 KiB, in the manner of LevelDB, after a head of 7 bytes."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, whole, seen, settings = file.read_bytes(), 7, b"", Seen(), set[str]()
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record, whole = messages.Record.FromString(whole), b""
            items = {
                each.key or each.nested_key[0]: each.value_json for each in record.history.item
            }
            for name in {*items} - {"_step", "_runtime", "_timestamp"}:
                seen.setdefault(name, []).append((int(items["_step"]), float(items[name])))
            settings |= {each.key or each.nested_key[0] for each in record.run.config.update}
    return seen, settings


def in_mlflow(folder: Path) -> tuple[Seen, set[str]]:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("cohobate")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    names = run.data.metrics
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    seen = {name: [(m.step, m.value) for m in history] for name, history in histories.items()}
    return seen, {*run.data.params}


READERS = {"tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow}


def assert_told(name: str, folder: Path) -> None:
    """Whether a logger holds each number of `metrics.jsonl` once, and the settings."""
    seen, settings = READERS[name](folder)
    expected = Seen()
    for row in rows(folder):
        for key, value in row.items():
            if key != "epoch":
                expected.setdefault(key, []).append((row["epoch"], value))
    assert seen.keys() == expected.keys()
    for key, history in expected.items():
        assert [step for step, _ in seen[key]] == [step for step, _ in history], key
        for (_, a), (_, b) in zip(seen[key], history):
            assert a == pytest.approx(b, rel=1e-6)
    assert {"optim.lr", "method.name"} <= settings


@pytest.mark.slow
def test_a_run_that_was_killed_and_goes_on_is_told_of_once(smoke, tmp_path):
    """Killed with SIGKILL in its second epoch, when nothing can be written any more."""
    settings = ("optim.epochs=3", "data.fraction=0.3", ALL)
    run = tmp_path / "run"
    begun = Command("train", SMOKE, *settings, "--out", run, cwd=tmp_path)
    while not (run / "metrics.jsonl").exists() and begun.code is None:
        time.sleep(0.02)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.finish()
    assert len(rows(run)) < 3
    assert smoke(run, *settings[1:], epochs=3).code == 0
    assert len(rows(run)) == 3
    for name in READERS:
        assert_told(name, run)


@pytest.mark.parametrize("name", READERS)
def test_an_epoch_that_was_saved_and_not_told_is_told_later(smoke, monkeypatch, tmp_path, name):
    """And one that is told already is not told again when the same command runs once more."""
    pytest.importorskip(name)

    def stop(self, row):
        raise KeyboardInterrupt

    before = Loggers.log
    monkeypatch.setattr(Loggers, "log", stop)
    given = (*FEW, f'log=["{name}"]')
    assert smoke(tmp_path / "run", *given, epochs=2).code == 130
    assert len(rows(tmp_path / "run")) == 1
    monkeypatch.setattr(Loggers, "log", before)
    for _ in range(2):
        ran = smoke(tmp_path / "run", *given, epochs=2)
        assert ran.code == 0, ran.err
        assert "warning" not in ran.out
        assert f"log: {name}, in " in ran.out
        assert_told(name, tmp_path / "run")


def test_records_of_wandb_begun_in_one_second_are_one_set(smoke, tmp_path):
    """wandb puts a number behind a folder's name where that second has one already."""
    pytest.importorskip("wandb")
    given = (*FEW, 'log=["wandb"]')
    assert smoke(tmp_path / "run", *given, epochs=2).code == 0
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    folder.rename(f"{folder}-1")
    assert smoke(tmp_path / "run", *given, epochs=2).code == 0
    assert_told("wandb", tmp_path / "run")


def test_half_an_epoch_is_completed_in_mlflow(smoke, tmp_path):
    """As a process leaves it that was killed while it wrote."""
    pytest.importorskip("mlflow")
    assert smoke(tmp_path / "run", *FEW, 'log=["mlflow"]', epochs=2).code == 0
    for file in (tmp_path / "store").glob("*/*/metrics/val/*"):
        file.write_text(file.read_text().splitlines()[0] + "\n")
    assert smoke(tmp_path / "run", *FEW, 'log=["mlflow"]', epochs=2).code == 0
    assert_told("mlflow", tmp_path / "run")


def test_a_run_goes_on_with_other_loggers_and_to_the_same_bits(smoke, tmp_path):
    pytest.importorskip("tensorboard")
    smoke(tmp_path / "plain", *FEW, epochs=2)
    ran = smoke(tmp_path / "run", *FEW, 'log=["tensorboard"]', epochs=2)
    assert ran.code == 0, ran.err
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "run"))
    assert one == two
    assert smoke(tmp_path / "plain", *FEW, 'log=["tensorboard"]', epochs=2).code == 0
    assert_told("tensorboard", tmp_path / "plain")


@pytest.mark.slow
def test_of_several_processes_the_first_tells(tmp_path):
    pytest.importorskip("tensorboard")
    settings = ("optim.epochs=2", *FEW, 'log=["tensorboard"]', "--devices", "2")
    code, out, err = Command("train", SMOKE, *settings, "--out", "run", cwd=tmp_path).finish()
    assert code == 0, err
    assert out.count("log: tensorboard, in run/tensorboard") == 1
    assert len([*(tmp_path / "run/tensorboard").iterdir()]) == 1
    assert_told("tensorboard", tmp_path / "run")


def test_mlflow_keeps_a_run_where_it_was_begun(smoke, monkeypatch, tmp_path):
    """By default that is the folder that one is in, which may be another when the run goes on."""
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert smoke(tmp_path / "run", *FEW, 'log=["mlflow"]').code == 0
    store = json.loads((tmp_path / "run/loggers.json").read_text())["mlflow"]["store"]
    assert (tmp_path / "here").as_posix() in store
    assert [*(tmp_path / "there").iterdir()] == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert_told("mlflow", tmp_path / "run")


def test_mlflow_without_a_database_says_where_it_keeps_a_run(monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    monkeypatch.chdir(tmp_path)
    begun = loggers.MLflow(RunDir(tmp_path), {"seed": 1})
    begun.end(done=True)
    assert begun.place.startswith(
        f"{(tmp_path / 'mlruns').as_uri()} for want of sqlalchemy (read it with MLFLOW_ALLOW_FILE_STORE=true), run "
    )
    assert [*(tmp_path / "mlruns").glob("*/*/params/seed")]


def test_a_store_that_is_not_there_harms_no_training_and_is_told_later(
    smoke, monkeypatch, tmp_path
):
    pytest.importorskip("mlflow")
    (tmp_path / "store").write_text("no folder")
    ran = smoke(tmp_path / "run", *FEW, 'log=["mlflow"]', epochs=2)
    assert ran.code == 0, ran.err
    assert ran.out.count("warning: the logger mlflow failed and is left (") == 1
    assert len(rows(tmp_path / "run")) == 2
    (tmp_path / "store").unlink()
    assert smoke(tmp_path / "run", *FEW, 'log=["mlflow"]', epochs=2).code == 0
    assert_told("mlflow", tmp_path / "run")


def test_a_logger_that_fails_is_left_and_the_others_are_told(smoke, monkeypatch, tmp_path):
    asked = []

    class Broken:
        place = "nowhere"

        def __init__(self, run, settings): ...

        def log(self, row):
            asked.append(row["epoch"])
            raise OSError("no space\nleft")

        def end(self, done): ...

    class Fine(Broken):
        def log(self, row):
            asked.append("fine")

        def end(self, done):
            asked.append(done)

    monkeypatch.setitem(LOGGERS, "tensorboard", Broken)
    monkeypatch.setitem(LOGGERS, "wandb", Fine)
    ran = smoke(tmp_path / "run", *FEW, 'log=["tensorboard", "wandb"]', epochs=2)
    assert ran.code == 0, ran.err
    assert ran.out.count("warning: the logger tensorboard failed and is left (no space);") == 1
    assert asked == [0, "fine", "fine", True]


def test_its_stages_are_told_of_in_their_own_folders(smoke, cohobate, tmp_path):
    pytest.importorskip("tensorboard")
    stage = '\n[[before]]\nmethod = {name = "supervised"}\n'
    file = smoke_and(tmp_path / "run.toml", stage)
    given = (*FEW, "optim.epochs=1", "method.name=kd", "method.teacher=@1", 'log=["tensorboard"]')
    ran = cohobate("train", file, *given, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert_told("tensorboard", tmp_path / "run")
    assert_told("tensorboard", tmp_path / "run" / "1-supervised")


@pytest.mark.parametrize(
    "given, words",
    [
        ('log=["tensorbord"]', "log[0]=tensorbord: input should be 'tensorboard', 'wandb' or 'mlf"),
        ("log=mlflow", """log=mlflow: input should be a list, such as '["tensorboard"]'"""),
    ],
)
def test_a_mistake(smoke, tmp_path, given, words):
    ran = smoke(tmp_path / "run", given)
    assert ran.code == 2
    assert words in ran.err


@pytest.mark.parametrize("name", LOGGERS)
def test_what_is_not_installed_is_said_before_anything_is_done(smoke, monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)
    ran = smoke(tmp_path / "run", f'log=["{name}"]')
    assert ran.code == 2
    assert ran.err == (
        f'cohobate: log=["{name}"] needs the package {name}, which is not installed:'
        f" pip install 'cohobate[{name}]'\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_choices_are_the_table_and_the_extras():
    choices = get_args(get_args(RunConfig.model_fields["log"].annotation)[0])
    assert choices == tuple(LOGGERS)
    project = tomllib.loads((SMOKE.parents[2] / "pyproject.toml").read_text())["project"]
    assert {*LOGGERS} <= {*project["optional-dependencies"]}


def test_an_interrupted_run_is_not_said_to_be_done(monkeypatch, tmp_path):
    ended = []

    class Kept:
        place = ""

        def __init__(self, run, settings): ...
        def log(self, row): ...
        def end(self, done):
            ended.append(done)

    monkeypatch.setitem(LOGGERS, "wandb", Kept)
    loggers = Loggers(("wandb", "wandb"), RunDir(tmp_path), print)
    with pytest.raises(KeyboardInterrupt), loggers.following({}, []):
        raise KeyboardInterrupt
    assert ended == [False]
