"""`cohobate compare RUN.toml`: it trains every combination that is missing, and each only once."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cohobate import planning, study
from places import SMOKE, smoke_and

TINY = ["optim.epochs=1", "data.per_class=8", "data.batch_size=16"]


def test_trains_what_is_missing_and_compares(cohobate, tmp_path):
    command = ("compare", SMOKE, *TINY, "--methods", "supervised,mixup", "--seeds", "2")
    ran = cohobate(*command, "--out", "study")
    assert ran.code == 0, ran.err
    assert "run 4 of 4: mixup/seed1" in ran.out
    table = json.loads(Path("study/comparison.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["label"], row["seeds"]) for row in table] == [("supervised", 2), ("mixup", 2)]
    weights = Path("study/runs/mixup/seed1/model.safetensors")
    written = weights.stat().st_mtime_ns
    ran = cohobate(*command[:-1], "3", "--out", "study")
    assert ran.code == 0, ran.err
    assert ran.out.count("already there") == 4
    assert "run 6 of 6: mixup/seed2" in ran.out
    assert weights.stat().st_mtime_ns == written


def test_a_missing_teacher_is_trained_first(cohobate, tmp_path):
    teacher = smoke_and(tmp_path / "teacher.toml", "").rename(tmp_path / "teach.toml")
    given = 'name = "kd"\nteacher = "teach.toml"\n'
    student = tmp_path / "student.toml"
    text = SMOKE.read_text(encoding="utf-8").replace('name = "supervised"\n', given)
    student.write_text(text.replace("epochs = 2", "epochs = 1"))
    teacher.write_text(teacher.read_text().replace("epochs = 2", "epochs = 1"))
    ran = cohobate("compare", "student.toml")
    assert ran.code == 0, ran.err
    assert "first its teacher: teach.toml, in out/digits/cifar_resnet8/supervised/seed0" in ran.out
    assert Path("out/compare/student/runs/kd/seed0/model.safetensors").is_file()


def test_a_network_to_start_from_is_trained_first(cohobate, tmp_path):
    text = SMOKE.read_text(encoding="utf-8").replace("epochs = 2", "epochs = 1")
    (tmp_path / "plain.toml").write_text(text)
    heads = text.replace('name = "supervised"', 'name = "hsakd_teacher"\nfrozen = true')
    (tmp_path / "heads.toml").write_text('init = "plain.toml"\n' + heads)
    ran = cohobate("train", "heads.toml")
    assert ran.code == 2
    assert "init=plain.toml: there is no trained network in out/digits" in ran.err
    assert "`cohobate train plain.toml` trains one" in ran.err
    ran = cohobate("compare", "heads.toml", "data.per_class=8", "data.batch_size=16")
    assert ran.code == 0, ran.err
    assert "first its init: plain.toml, in out/digits/cifar_resnet8/supervised/seed0" in ran.out
    first, second = (
        load_file(f"out/{place}/model.safetensors")
        for place in (
            "digits/cifar_resnet8/supervised/seed0",
            "compare/heads/runs/hsakd_teacher/seed0",
        )
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_that_fails_is_told_of_and_the_others_go_on(cohobate):
    ran = cohobate(
        *("compare", SMOKE, *TINY, "optim.clip=0", "optim.epochs=3"),
        *("--sweep", "optim.lr=0.05,1e30", "--out", "study"),
    )
    assert ran.code == 1, ran.err
    assert "warning: supervised-lr=1e+30/seed0: left out: " in ran.out
    table = json.loads(Path("study/comparison.json").read_text(encoding="utf-8"))["rows"]
    assert len(table) == 1


def test_a_teacher_that_is_nowhere_is_found_before_anything_is_trained(cohobate, tmp_path):
    settings = ("--methods", "supervised,kd,dkd", "method.teacher=nowhere", "--out", "study")
    ran = cohobate("compare", SMOKE, *TINY, *settings)
    assert ran.code == 2
    assert ran.err.startswith("cohobate: kd/seed0, dkd/seed0: method.teacher=nowhere: there is no ")
    assert not Path("study").exists()
    ran = cohobate("compare", SMOKE, *TINY, "init=nowhere.pth", "--out", "study")
    assert (ran.code, Path("study").exists()) == (2, False)
    assert "supervised/seed0: init=nowhere.pth: there is no nowhere.pth" in ran.err
    file = tmp_path / "teacher.toml"
    file.write_text('init = "nowhere.pth"\n' + SMOKE.read_text(encoding="utf-8"))
    planned = planning.plan([SMOKE], [f"method.teacher={file}"], {"method.name": ["kd"]})
    with pytest.raises(
        ValueError, match=r"kd/seed0: init=nowhere\.pth"
    ):  # of the teacher's own run
        study.check(planned, Path("study"))
    teacher = "study/supervised/seed0"  # which comes before
    methods = {"method.name": ["supervised", "kd"]}
    planned = planning.plan([SMOKE], [f"method.teacher={teacher}"], methods)
    study.check(planned, Path("study"))
    with pytest.raises(ValueError, match="there is no trained network in study/supervised/seed0"):
        study.check(planned[::-1], Path("study"))


def test_folders_of_other_runs_are_told_once(tmp_path):
    planned = planning.plan([SMOKE], ["optim.epochs=4"], seeds=3)
    for run in planned[:2]:
        folder = tmp_path / "runs" / run.name
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(run.config.toml().replace("epochs = 4", "epochs = 3"))
    with pytest.raises(ValueError, match=r"seed0, .*seed1 \(optim.epochs: 3 → 4\)") as error:
        study.check(planned, tmp_path / "runs")
    assert str(error.value).count("optim.epochs") == 1
    assert "another folder with --runs DIR" in str(error.value)


KEPT = ("config.toml", "environment.json", "metrics.jsonl", "outcomes.json")


def test_runs_that_are_there_from_other_data_are_named(tmp_path):
    """Where data lies makes no other run, but may hold other images."""
    data = {"name": "npz", "root": "here", "batch_size": 8}
    (planned,) = planning.plan([SMOKE], [("data", data), ("optim.epochs", 1)])
    folder = tmp_path / planned.name
    folder.mkdir(parents=True)
    there = planned.config.toml().replace('root = "here"', 'root = "there"')
    (folder / "config.toml").write_text(there)
    sizes = {"parameters": 1, "trained_parameters": 1}
    (folder / "environment.json").write_text(json.dumps({"cost": sizes}))
    row = {"epoch": 0, "step": 1, "seconds": 1.0, "images_per_second": 1.0, "test/top1": 0.5}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert study.moved([planned], tmp_path) == [
        "already there from data.root=there, not here: supervised/seed0; where those are other images,"
        " name another folder with --runs DIR"
    ]
    (folder / "config.toml").write_text(planned.config.toml())
    assert study.moved([planned], tmp_path) == study.moved([planned], tmp_path / "empty") == []


def test_what_is_kept_of_a_run_is_enough_and_what_is_missing_is_told(cohobate):
    command = ("compare", SMOKE, *TINY, "compile=false", "--runs", "runs")
    ran = cohobate(*command, "--seeds", "2", "--out", "first")
    assert ran.code == 0, ran.err
    assert not Path("first/runs").exists()
    for path in Path("runs").rglob("*"):
        if path.is_file() and path.name not in KEPT:
            path.unlink()
    both = (*command, "--methods", "supervised,mixup", "--seeds", "3", "--out", "second")
    ran = cohobate(*both, "--no-train")
    assert ran.code == 0, ran.err
    table = json.loads(Path("second/comparison.json").read_text(encoding="utf-8"))
    assert [(row["label"], row["seeds"]) for row in table["rows"]] == [("supervised", 2)]
    said = "not trained yet: mixup (seed 0, 1, 2), supervised (seed 2)"
    assert said in table["warnings"]
    assert f"warning: {said}" in ran.out
    assert not Path("runs/mixup").exists()
    ran = cohobate(*command, "--seeds", "1", "--no-train", "--out", "third", "optim.lr=0.3")
    assert ran.code == 2
    assert "there with other settings (folder → asked: optim.lr: " in ran.err
    names = {path.name for path in Path("second").iterdir()}
    assert names == {
        *(f"comparison.{kind}" for kind in ("md", "csv", "tex", "json")),
        "report.html",
    }

    Path("runs/supervised/seed1/metrics.jsonl").write_text('{"epoch": 0}\n')
    ran = cohobate(*both, "--no-train")
    assert ran.code == 1
    assert "metrics.jsonl is damaged: line 1 does not say step" in ran.out
    assert "supervised (seed 2)" in ran.out
    Path("runs/supervised/seed0/environment.json").write_text("{")
    ran = cohobate(*both, "--no-train")
    assert ran.code == 2
    assert "runs/supervised/seed0/environment.json is damaged" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_older_run_is_scored_again_for_its_outcomes(cohobate):
    command = ("compare", SMOKE, *TINY, "compile=false", "--out", "study")
    ran = cohobate(*command)
    assert ran.code == 0, ran.err
    outcomes = Path("study/runs/supervised/seed0/outcomes.json")
    before = outcomes.read_text(encoding="utf-8")
    outcomes.unlink()
    ran = cohobate(*command)
    assert ran.code == 0, ran.err
    assert "study/runs/supervised/seed0: scored again, for its outcomes.json" in ran.out
    assert outcomes.read_text(encoding="utf-8") == before


MISTAKES = {
    "nothing there": ([SMOKE, "--no-train"], "not trained yet: supervised (seed 0)"),
    "budget": ([SMOKE, "--budget", "hours"], "hours"),
    "budget of folders": (["nowhere", "--budget", "compute"], "give RUN.toml"),
    "budget of both": (
        [SMOKE, "nowhere", "--budget", "compute"],
        "and nowhere is a run already",
    ),
    "nothing measured": (
        [SMOKE, "--methods", "mixup", "--budget", "minutes", "--no-train"],
        "does not say how long mixup takes",
    ),
    "folder with seeds": (["nowhere", "--seeds", "2"], "give RUN.toml"),
    "method": ([SMOKE, "--methods", "mixskdd"], "did you mean 'mixskd'"),
    "option": ([SMOKE, "--sweep", "method.alhpa=1,2"], "unknown option of [method] 'alhpa'"),
    "value": ([SMOKE, "--sweep", "optim.lr=0.1,-1"], "optim.lr=-1"),
    "option of none": (
        [SMOKE, "--sweep", "method.foo=1,2"],
        "'supervised' takes no options",
    ),
    "no values": ([SMOKE, "--sweep", "optim.lr"], "is no setting"),
    "empty values": (
        [SMOKE, "--sweep", "optim.lr="],
        "--sweep optim.lr=: a value is missing; write optim.lr=A,B",
    ),
    "no name": ([SMOKE, "--methods", "supervised,,mixup"], "a name is missing; write A,B"),
    "no names": ([SMOKE, "--methods", ""], "a name is missing; write A,B"),
    "seeds twice": (
        [SMOKE, "--seeds", "2", "--sweep", "seed=3,4"],
        "--seeds 2 and --sweep seed=… both say which seeds",
    ),
    "no file": (["nowhere.toml"], "there is no run file nowhere.toml"),
    "a sweep twice": (
        [SMOKE, "--sweep", "optim.lr=0.1", "--sweep", "optim.lr=0.2"],
        "--sweep optim.lr=… is given twice: give all values at once, optim.lr=A,B",
    ),
    "methods twice": (
        [SMOKE, "--methods", "mixup", "--sweep", "method.name=cutmix,mixup"],
        "--methods and --sweep method.name=… both say which methods",
    ),
    "tasks": ([SMOKE, SMOKE.with_name("segmentation.toml")], "compare runs of one task"),
    "no folder beside": ([SMOKE, "nowhere"], "there is no nowhere: give run folders"),
}


@pytest.mark.parametrize("arguments, sentence", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_found_before_anything_is_trained(cohobate, arguments, sentence):
    ran = cohobate("compare", *arguments)
    assert ran.code == 2
    assert sentence in ran.err
    assert not Path("out").exists()


def test_a_sweep_that_is_no_list(cohobate, tmp_path):
    file = smoke_and(tmp_path / "lr.toml", "\n[sweep]\noptim.lr = 0.1\n")
    ran = cohobate("compare", file)
    assert ran.code == 2
    assert "[sweep] optim.lr=0.1 should be a list" in ran.err


def test_train_leaves_the_sweep_alone(cohobate, tmp_path):
    file = smoke_and(tmp_path / "lr.toml", "\n[sweep]\noptim.lr = [0.1, 0.2]\n")
    ran = cohobate("train", file, *TINY, "--out", "run")
    assert ran.code == 0, ran.err
    assert "sweep" not in Path("run/config.toml").read_text(encoding="utf-8")
