"""What a run needs of its teacher: all of it to begin, nothing more of it to go on."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from cohobate import teachers
from cohobate.data.classification import declared
from places import SMOKE

FEW = ("data.per_class=4", "data.batch_size=16", "eval.batch_size=64")


@pytest.fixture
def student(smoke, tmp_path):
    """Trains a student of a teacher with heads; the teacher's folder is gone then."""

    def run(name):
        given = ("method.name=hsakd", f"method.teacher={tmp_path / 'teacher'}", *FEW)
        return smoke(tmp_path / name, *given)

    assert smoke(tmp_path / "teacher", "method.name=hsakd_teacher", *FEW).code == 0
    assert run("whole").code == 0
    shutil.rmtree(tmp_path / "teacher")
    return run


def test_a_begun_run_without_a_checkpoint_goes_on_without_its_teacher(student, tmp_path):
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    begun.mkdir()
    for name in ("config.toml", "environment.json", "splits.json", "frozen.safetensors"):
        shutil.copy(whole / name, begun / name)
    shutil.copytree(whole / "teacher", begun / "teacher")
    ran = student("begun")
    assert ran.code == 0, ran.err
    for name in ("model.safetensors", "method.safetensors"):
        assert (begun / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_teacher_that_is_gone_does_not_teach_a_new_run(student, tmp_path):
    ran = student("new")
    assert ran.code == 2
    assert f"there is no trained network in {tmp_path / 'teacher'}" in ran.err
    assert "give RUN_FOLDER of a run with method.name=hsakd_teacher" in ran.err


def test_a_frozen_network_that_is_not_whole_is_named(student, tmp_path):
    file = tmp_path / "whole" / "frozen.safetensors"
    state = load_file(file)
    del state[min(state)]
    save_file(state, file)
    ran = student("whole")
    assert ran.code == 2
    assert f"{file} is damaged: it lacks " in ran.err


def test_a_network_of_timms_is_not_fetched_again(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    built = teachers.find("timm:resnet18", declared("imagenet"), described=tmp_path)
    assert built.num_classes == 1000


def test_a_run_file_does_not_stand_for_another_run_in_its_folder(cohobate, tmp_path):
    text = SMOKE.read_text(encoding="utf-8")
    for name, rate in (("one", 0.0), ("two", 0.5)):
        rest = text.replace("[model]\n", f"[model]\ndrop_rate = {rate}\n")
        (tmp_path / f"{name}.toml").write_text(rest, encoding="utf-8")
    ran = cohobate("train", "one.toml", "optim.epochs=1", *FEW)
    assert ran.code == 0, ran.err
    given = ("train", SMOKE, "optim.epochs=1", *FEW, "--out", "student", "method.name=kd")
    assert cohobate(*given, "method.teacher=one.toml").code == 0
    for setting in ("method.teacher=two.toml", "init=two.toml"):
        shutil.rmtree(tmp_path / "student", ignore_errors=True)
        ran = cohobate(*given, "method.teacher=one.toml", setting)
        assert ran.code == 2
        assert f"{setting}: out/digits/cifar_resnet8/supervised/seed0 holds another run" in ran.err
        assert "model.drop_rate: 0.0 → 0.5" in ran.err
