"""`--budget`: every method as long as it costs what plain training costs."""

import json
from pathlib import Path

import pytest

from cohobate import budget, planning, teachers
from cohobate.cost import cost
from cohobate.display import Lines
from places import SMOKE

STEPS = ["optim.epochs=60", "optim.schedule=step", "optim.milestones=[20,45]", "optim.warmup=6"]


def planned(*settings: str, methods=("supervised", "mixup", "mixskd", "bake", "dlb"), seeds=1):
    return planning.plan([SMOKE], [*STEPS, *settings], {"method.name": methods}, seeds)


def fitted(runs, kind, folder, **more):
    found, sentence = planning.fit(runs, kind, folder, Lines(), **more)
    return {str(run.name): run.config for run in found}, sentence


def test_epochs_leave_the_plan_as_it_is(tmp_path):
    runs = planned()
    assert planning.fit(runs, "epochs", tmp_path, Lines()) == (runs, "")


def test_compute_gives_the_operations_of_the_baseline(tmp_path):
    found, sentence = fitted(planned(seeds=2), "compute", tmp_path)
    assert "operations in training of supervised (--budget compute), rounded to whole epochs" in (
        sentence
    )
    assert {
        "supervised/seed0",
        "mixup/seed1",
    } <= found.keys()  # no dearer: the folders of the plain plan
    assert found["supervised/seed0"].optim.epochs == found["mixup/seed1"].optim.epochs == 60
    for name, config in found.items():
        method, size = teachers.blueprint(config)
        counted = cost(method, size)
        batches = 2 if config.method.name == "dlb" else 1  # half of each batch is seen twice
        spent = config.optim.epochs * batches * counted["step_macs"] / counted["supervised_macs"]
        assert spent == pytest.approx(60, abs=2.5), name
        assert name.endswith(("/seed0", "/seed1"))
        changed = config.optim.epochs != 60
        assert (f"-epochs={config.optim.epochs}/" in name) == changed
    assert not (tmp_path / "budget.json").exists()


def test_milestones_and_warm_ups_keep_their_share():
    (run,) = planned(methods=["supervised"])
    optim = budget.scaled(run.config, 20).optim
    assert (optim.epochs, optim.milestones, optim.warmup) == (20, (7, 15), pytest.approx(2))
    assert budget.scaled(run.config, 60) == run.config
    (run,) = planned(methods=["supervised"])
    assert budget.scaled(run.config, 1).optim.milestones == (1,)
    assert budget.scaled(run.config, 2).optim.milestones == (1,)  # one at the end would not act


@pytest.mark.parametrize(
    "name, option", {"dkd": "warmup", "reviewkd": "warmup", "ctkd": "loops"}.items()
)
def test_a_warm_up_of_the_method_keeps_its_share(name, option):
    settings = ["method.teacher=timm:resnet10t", f"method.{option}=30"]
    (run,) = planned(*settings, methods=[name])
    options, same = budget.scaled(run.config, 20).method.options, run.config.method.options
    assert options[option] == pytest.approx(10)
    assert {**options, option: 30} == same


def test_minutes_are_measured_once(tmp_path, monkeypatch):
    times = {"supervised": 2.0, "mixup": 2.02, "mixskd": 7.0}
    asked = []

    def seconds(config):
        asked.append(config.method.name)
        return times[config.method.name]

    monkeypatch.setattr(budget, "seconds", seconds)
    runs = planned(methods=("supervised", "mixup", "mixskd"), seeds=2)
    found, sentence = fitted(runs, "minutes", tmp_path)
    assert "time for training of supervised" in sentence
    assert {name.partition("/")[0]: c.optim.epochs for name, c in found.items()} == {
        "supervised": 60,
        "mixup-epochs=59": 59,
        "mixskd-epochs=17": 17,
    }
    assert sorted(asked) == ["mixskd", "mixup", "supervised"]
    kept = json.loads((tmp_path / "budget.json").read_text(encoding="utf-8"))
    assert {each["name"]: each["seconds_per_epoch"] for each in kept.values()} == times

    times["mixskd"] = 70.0  # another day
    assert fitted(runs, "minutes", tmp_path, measure=False)[0] == found
    assert len(asked) == 3
    other = planned("data.batch_size=16", methods=["mixup"])
    with pytest.raises(ValueError, match="does not say how long mixup takes"):
        planning.fit(other, "minutes", tmp_path, Lines(), measure=False)


def test_times_of_another_machine_are_not_held_against_those_of_this(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds", lambda config: 2.0)
    fitted(planned(methods=["mixup"]), "minutes", tmp_path)
    monkeypatch.setattr(budget, "_machine", lambda config: "Cray-1")
    assert fitted(planned(methods=["mixup"]), "minutes", tmp_path)  # nothing is to be timed
    with pytest.raises(ValueError, match=r"those of another machine .* of mixskd here .Cray-1"):
        fitted(planned(methods=["mixskd"]), "minutes", tmp_path)


def test_a_damaged_file_of_times_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds", lambda config: 2.0)
    fitted(planned(methods=["mixup"]), "minutes", tmp_path)
    file = tmp_path / "budget.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({mark: {} for mark in kept}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"budget.json is damaged: \w+ has no seconds_per_epoch"):
        fitted(planned(methods=["mixup"]), "minutes", tmp_path)


@pytest.mark.parametrize(
    "file",
    [SMOKE, SMOKE.parents[1] / "digits" / "comparison" / "hsakd.toml"],
    ids=["plain", "stages"],
)
def test_a_trial_takes_its_time(file, monkeypatch):
    """The teacher of a stage is not trained for it."""
    monkeypatch.setattr(budget, "TRIAL", 0.01)
    (run,) = planning.plan([file], ["data.per_class=8", "data.batch_size=16", "compile=false"])
    before = {*Path().iterdir()}
    assert 0 < budget.seconds(run.config) < 600
    assert {*Path().iterdir()} == before
