"""Runs with stages: born-again networks, assistants, and starts from an earlier stage."""

import json
import os
import shutil
import signal
import tomllib
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from cohobate import config, defaults, planning
from cohobate import train as program
from cohobate.analysis.comparison import compare
from cohobate.display import Silent
from cohobate.engine import Training
from places import ROOT, SMOKE

FEW = ("data.per_class=8", "data.batch_size=20", "optim.epochs=1")
BORN_AGAIN = """
[[before]]
[before.method]
name = "supervised"
"""
CHAIN = """
[[before]]
name = "teacher"
[before.model]
arch = "cifar_resnet20"
[before.method]
name = "supervised"
[before.optim]
epochs = 2

[[before]]
name = "assistant"
[before.model]
arch = "cifar_resnet14"
[before.method]
name = "kd"
teacher = "@1"
"""
HEADS = """
[[before]]
[before.method]
name = "supervised"

[[before]]
init = "@1"
[before.method]
name = "hsakd_teacher"
frozen = true
"""


def run_file(folder: Path, stages: str, method: str = 'name = "kd"\nteacher = "@1"') -> Path:
    """The smoke run with another method, and stages before it."""
    text = SMOKE.read_text(encoding="utf-8").replace('name = "supervised"', method)
    (folder / "run.toml").write_text(text + stages, encoding="utf-8")
    return folder / "run.toml"


@pytest.fixture
def write(tmp_path):
    return partial(run_file, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a chain, and beside it its run file."""
    folder = tmp_path_factory.mktemp("whole")
    file = run_file(folder, CHAIN, 'name = "kd"\nteacher = "@2"')
    resolved, _ = defaults.resolve(config.load(file, FEW))
    program.train(resolved, folder / "run", devices=1, display=Silent())
    return folder / "run"


@pytest.fixture
def train(cohobate):
    def run(file, out, *settings):
        return cohobate("train", file, *FEW, *settings, "--out", out)

    return run


@pytest.fixture
def interrupt(monkeypatch):
    """Has the training in a folder of this name stopped after its second step."""
    before = Training.advance

    def at(name: str) -> None:
        def advance(self, *arguments):
            before(self, *arguments)
            if self.run.path.name == name and self.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Training, "advance", advance)

    return at


def weights(folder: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


def assert_same(one: Path, two: Path, *names: str) -> None:
    for name in names:
        for file in ("model.safetensors", "method.safetensors"):
            assert (one / name / file).read_bytes() == (two / name / file).read_bytes(), name


def epochs(folder: Path) -> int:
    return len((folder / "metrics.jsonl").read_text().splitlines())


def test_born_again(train, write, tmp_path):
    """The network of the run teaches one of its own kind, which begins from other weights."""
    ran = train(write(BORN_AGAIN), tmp_path / "run", "optim.lr=1e-9")
    assert ran.code == 0, ran.err
    first = tmp_path / "run" / "1-supervised"
    said = ran.out.splitlines()
    assert said[0] == f"stage 1 of 1, in {first}: supervised, cifar_resnet8"
    assert f"after its stages, in {tmp_path / 'run'}: kd, cifar_resnet8" in said
    assert {path.name for path in first.iterdir()} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    taught, frozen, born = weights(first), weights(first.parent, "frozen"), weights(first.parent)
    key = "head.fc.weight"
    assert torch.equal(frozen[f"teacher.net.net.{key}"], taught[key])
    assert not torch.allclose(born[key], taught[key], atol=1e-3)


def test_a_chain_of_assistants(whole):
    folders = [whole / name for name in ("1-teacher", "2-assistant", "")]
    networks = [json.loads((folder / "config.json").read_text()) for folder in folders]
    archs = [f"cifar_resnet{depth}" for depth in (20, 14, 8)]
    assert [network["architecture"] for network in networks] == archs
    for teacher, student in pairwise(folders):
        taught, frozen = weights(teacher), weights(student, "frozen")
        assert torch.equal(taught["head.fc.weight"], frozen["teacher.net.net.head.fc.weight"])


def test_what_is_set_for_the_run_holds_for_its_stages_too(train, write, tmp_path):
    settings = ("seed=4", "optim.epochs=3", "before.2.optim.epochs=1")
    assert train(write(CHAIN), tmp_path / "run", *settings).code == 0
    folders = [tmp_path / "run" / name for name in ("1-teacher", "2-assistant", "")]
    assert [epochs(folder) for folder in folders] == [2, 1, 3]
    tables = [tomllib.loads((folder / "config.toml").read_text()) for folder in folders]
    assert {table["seed"] for table in tables} == {4}


def test_what_is_exported_is_the_student_alone(whole):
    net = timm.create_model("cifar_resnet8", num_classes=10)
    net.load_state_dict(weights(whole), strict=True)
    assert not [key for key in weights(whole, "method") if "teacher" in key]


def test_a_start_from_a_stage(train, write, tmp_path):
    file = write(BORN_AGAIN, 'name = "supervised"')
    ran = train(file, tmp_path / "run", "init=@1", "model.freeze=backbone")
    assert ran.code == 0, ran.err
    one, two = weights(tmp_path / "run" / "1-supervised"), weights(tmp_path / "run")
    moved = {key for key in one if not torch.equal(one[key], two[key])}
    assert moved == {"head.fc.weight", "head.fc.bias"}


def test_a_teacher_with_heads_that_starts_from_a_stage(train, write, cohobate, tmp_path):
    """Its method is built anew from the settings of its folder, in which `@1` stands."""
    file = write(HEADS, 'name = "hsakd"\nteacher = "@2"')
    assert train(file, tmp_path / "run").code == 0
    begun, kept = (weights(tmp_path / "run" / n) for n in ("1-supervised", "2-hsakd_teacher"))
    assert all(torch.equal(begun[key], kept[key]) for key in begun)
    ran = cohobate("evaluate", tmp_path / "run" / "2-hsakd_teacher")
    assert ran.code == 0, ran.err


def test_a_run_that_is_stopped_in_its_stages(whole, train, interrupt, tmp_path):
    """The same command goes on where it stopped, to the same bits; what is done stays as it is."""
    file, run = whole.with_name("run.toml"), tmp_path / "run"
    for done, name in ((0, "1-teacher"), (0, "2-assistant"), (1, "run"), (2, "")):
        interrupt(name)
        ran = train(file, run)
        assert ran.code == (128 + signal.SIGTERM if name else 0), ran.err
        assert ("the same command goes on" in ran.out) == bool(name)
        assert ran.out.count("already there") == done
    assert_same(whole, run, "1-teacher", "2-assistant", "")


def test_only_what_is_missing_is_trained(whole, train, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "2-assistant")
    written = (run / "1-teacher" / "model.safetensors").stat().st_mtime_ns
    ran = train(whole.with_name("run.toml"), run)
    assert ran.code == 0, ran.err
    assert ran.out.count("already there") == 1
    assert_same(whole, run, "1-teacher", "2-assistant", "")
    assert (run / "1-teacher" / "model.safetensors").stat().st_mtime_ns == written


def test_a_run_may_be_moved(whole, train, tmp_path):
    """Nothing in it says where it lay."""
    shutil.copytree(whole, tmp_path / "moved")
    ran = train(whole.with_name("run.toml"), "moved")
    assert ran.code == 0, ran.err
    assert ran.out.count("already there") == 2


def test_the_settings_of_a_stage_are_a_run_file_too(whole, cohobate, tmp_path):
    """With the stages before it, so that it trains the same, teachers and all."""
    given = whole / "2-assistant" / "config.toml"
    ran = cohobate("train", given, "--out", tmp_path / "again")
    assert ran.code == 0, ran.err
    assert_same(whole / "1-teacher", tmp_path / "again" / "1-teacher", "")
    assert_same(whole / "2-assistant", tmp_path / "again", "")


def test_another_stage_is_refused_and_the_difference_printed(train, write, tmp_path):
    file = write(BORN_AGAIN)
    assert train(file, tmp_path / "run").code == 0
    ran = train(file, tmp_path / "run", "before.1.optim.lr=0.07")
    assert ran.code == 2
    assert f"{tmp_path / 'run'} holds a run of other settings" in ran.err
    assert "\n  before.1.optim: not set → {'lr': 0.07}\n" in ran.err
    ran = train(file, tmp_path / "run", "optim.lr=0.07")
    assert ran.err.count("→") == 2, "that of the run and of its stage are one"
    assert "\n  optim.lr: 0.05 → 0.07\n" in ran.err
    shutil.rmtree(tmp_path / "run" / "1-supervised")
    ran = train(file, tmp_path / "run", "data.workers=1", "before.1.checkpoint_every=3")
    assert ran.code == 0, ran.err


WRONG = {
    "method.teacher=@2": "method.teacher=@2: of the [[before]] tables that come before, @1 may",
    "method.teacher=@0": "method.teacher=@0: of the",
    "init=@one": "init=@one: of the [[before]] tables that come before, @1 may be named",
    "before.1.init=@1": "before.1: init=@1: no [[before]] stage comes before this one",
    "before=[]": "method.teacher=@1: this run file has no [[before]] stage",
    "before.2.seed=1": "before.2.seed=1: this run has 1 [[before]] table; before.1.KEY=VALUE",
    "before.1=3": "before.1=3: this run has 1 [[before]] table",
    "before=3": "before: input should be tables, each under [[before]]",
    "before.1.optim.epochs=0": "before.1.optim.epochs=0: input should be greater than",
    "before.1.optim.epoch=3": "unknown setting of [before.1.optim] 'epoch': did you mean 'epochs'",
    "before.1.sead=3": "unknown setting of [before.1] 'sead': did you mean 'seed'",
    "before.1.before=3": "before.1.before: stages stand in the run file one by one",
    "before.1.optim.milestones=5": "before.1.optim.milestones=5: input should be a list, such as",
    "before.1.method.alpha=1": "before.1: unknown option of [method] 'alpha'",
    "model.arch=cifar_resnet7": "cifar_resnet7",
    "method.temperatur=1": "unknown option of [method] 'temperatur'",
}


@pytest.mark.parametrize("setting", WRONG)
def test_mistakes_are_found_before_anything_is_trained(train, write, tmp_path, setting):
    ran = train(write(BORN_AGAIN), tmp_path / "run", setting)
    assert ran.code == 2
    assert WRONG[setting] in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_mistake_of_the_run_is_told_once(train, write, tmp_path):
    ran = train(write(BORN_AGAIN), tmp_path / "run", "optim.lr=-1")
    assert ran.err.count("optim.lr=-1") == 1


STAGES = """
[[before]]
init = "somewhere"
precision = "float32"
[before.mix]
name = "cutmix"
[before.model]
arch = "cifar_resnet14"
[before.optim]
name = "adamw"
epochs = 40
[before.data]
per_class = 3
"""


def test_what_a_stage_takes_over_and_what_not(write):
    run = config.load(
        write(STAGES),
        ["model.drop_rate=0.1", "data.val=0.2", "cache.folder=x", "mix.name=mixup", "init=y"],
    )
    resolved, _ = defaults.resolve(run)
    assert resolved.before
    (stage,) = resolved.before
    assert (stage.data.val, stage.data.per_class, stage.data.batch_size) == (0.2, 3, 32)
    assert stage.model.options == {}, "those of the run are of its own network"
    assert (stage.method.name, stage.init, stage.cache) == ("supervised", "somewhere", None)
    assert stage.mix and stage.mix.name == "cutmix"
    assert (stage.optim.lr, stage.optim.warmup) == (0.05, 4)
    assert (resolved.precision, stage.precision) == ("auto", "float32")
    same = config.load(write(BORN_AGAIN), ["model.drop_rate=0.1", "mix.name=mixup"]).before
    assert same and same[0].model.options == {"drop_rate": 0.1}
    assert same[0].mix is None


@pytest.mark.parametrize("stages", [BORN_AGAIN, CHAIN, STAGES])
def test_stages_survive_being_written_and_read(write, tmp_path, stages):
    run, _ = defaults.resolve(config.load(write(stages), ["optim.ema=0.9", "seed=3"]))
    (tmp_path / "again.toml").write_text(run.toml())
    again, _ = defaults.resolve(config.load(tmp_path / "again.toml"))
    assert again == run
    assert again.toml() == run.toml()


def test_overrides_of_the_method_of_a_stage(write):
    run = config.load(write(CHAIN), ["before.2.method.name=mixup", "before.2.method.alpha=0.7"])
    assert run.before
    assert run.before[1].method.options == {"alpha": 0.7}
    assert run.method.options == {"teacher": "@1"}
    off = config.load(write(STAGES), ["before.1.mix.name=none"]).before
    assert off and off[0].mix is None


def test_explain_needs_no_trained_stage(cohobate, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = cohobate("explain", "runs/cifar100/resnet20/takd.toml")
    assert ran.code == 0, ran.err
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["@1", "supervised", "cifar_resnet110", "1,736,564"] in lines
    assert ["@2", "kd", "cifar_resnet56", "861,620", "teacher", "@1"] in lines
    assert ["teacher", "861,620", "frozen"] in lines


def test_a_study_takes_a_run_with_its_stages_for_one(cohobate, write, tmp_path):
    file = write(BORN_AGAIN)
    given = ("compare", file, *FEW, "--seeds", "2", "--out", "study")
    ran = cohobate(*given)
    assert ran.code == 0, ran.err
    table = json.loads(Path("study/comparison.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["label"], row["seeds"]) for row in table] == [("supervised → kd", 2)]
    assert Path("study/runs/kd/seed1/1-supervised/model.safetensors").is_file()
    ran = cohobate(*given)
    assert ran.out.count("already there") == 2


def test_a_comparison_tells_stages_apart(train, write, tmp_path):
    for name, stages, settings in (
        ("a", BORN_AGAIN, []),
        ("b", BORN_AGAIN, ["before.1.optim.lr=0.01"]),
        ("c", "", [f"method.teacher={tmp_path / 'a'}"]),
    ):
        ran = train(write(stages), tmp_path / name, *settings)
        assert ran.code == 0, ran.err
    found = compare([tmp_path / name for name in ("a", "b", "c", "a/1-supervised")])
    labels = {row.label for row in found.rows}
    assert labels == {
        *("kd", "supervised", "supervised → kd"),
        "supervised → kd before.1.optim.lr=0.01",
    }
    assert not [sentence for sentence in found.warnings if sentence.startswith("before.")]


def test_a_sweep_over_a_setting_of_a_stage(write):
    swept = planning.plan([write(BORN_AGAIN)], FEW, {"before.1.optim.epochs": [1, 2]})
    assert {run.config.before[0].optim.epochs for run in swept if run.config.before} == {1, 2}
