"""Which runs a few run files stand for, and what their folders are called."""

import pytest

from cohobate import planning
from places import SMOKE, smoke_and


def names(planned) -> list[str]:
    return [str(run.name) for run in planned]


def test_a_file_alone_is_one_run():
    (run,) = planning.plan([SMOKE], ["optim.lr=0.01"])
    assert str(run.name) == "supervised/seed0"
    assert run.config.optim.lr == 0.01


def test_methods_and_seeds_seed_by_seed():
    planned = planning.plan([SMOKE], sweeps={"method.name": ["supervised", "mixskd"]}, seeds=2)
    assert names(planned) == [
        *("supervised/seed0", "mixskd/seed0"),
        *("supervised/seed1", "mixskd/seed1"),
    ]
    assert [run.config.seed for run in planned] == [0, 0, 1, 1]


def test_sweep_of_a_file_and_of_the_command(tmp_path):
    file = smoke_and(tmp_path / "lr.toml", "\n[sweep]\noptim.lr = [0.1, 0.2]\nseed = [3, 5]\n")
    assert names(planning.plan([file])) == [
        *("supervised-lr=0.1/seed3", "supervised-lr=0.2/seed3"),
        *("supervised-lr=0.1/seed5", "supervised-lr=0.2/seed5"),
    ]
    planned = planning.plan([file], sweeps={"optim.lr": [0.4]}, seeds=1)
    assert names(planned) == ["supervised-lr=0.4/seed0"]


def test_a_teacher_is_for_the_methods_that_take_one(tmp_path):
    teacher = smoke_and(tmp_path / "teacher.toml", "")
    sweeps = {"method.name": ["supervised", "kd"], "method.teacher": [str(teacher)]}
    planned = planning.plan([SMOKE], sweeps=sweeps)
    assert names(planned) == ["supervised/seed0", "kd/seed0"]
    assert "teacher" not in planned[0].config.method.options
    assert planned[1].config.method.options["teacher"] == str(teacher)
    again = planning.plan(
        [SMOKE], [f"method.teacher={teacher}"], {"method.name": ["supervised", "kd"]}
    )
    assert [run.config for run in again] == [run.config for run in planned]


def test_the_method_of_the_file_keeps_its_options(tmp_path):
    text = SMOKE.read_text(encoding="utf-8")
    file = tmp_path / "mixup.toml"
    file.write_text(text.replace('"supervised"', '"mixup"\nalpha = 0.9'))
    plain, taught = planning.plan([file], sweeps={"method.name": ["supervised", "mixup"]})
    assert plain.config.method.options == {}
    assert taught.config.method.options["alpha"] == 0.9
    (other,) = planning.plan([file], ["method.name=mixup", "method.alpha=0.3"])
    assert other.config.method.options["alpha"] == 0.3

    file.write_text(
        text.replace('"supervised"', '"kd"\nteacher = "@1"')
        + '\n[[before]]\nmodel.arch = "cifar_resnet14"\n'
    )
    plain, taught = planning.plan([file], sweeps={"method.name": ["supervised", "kd"]})
    assert taught.config.method.options["teacher"] == "@1"
    assert taught.config.before and not plain.config.before  # whose stage nothing would name


def test_an_option_is_for_the_methods_that_take_it():
    methods = {"method.name": ["supervised", "mixup"]}
    planned = planning.plan([SMOKE], sweeps={**methods, "method.alpha": [0.2, 0.4]})
    assert names(planned) == ["supervised/seed0", "mixup-alpha=0.2/seed0", "mixup-alpha=0.4/seed0"]
    assert [run.config.method.options.get("alpha") for run in planned] == [None, 0.2, 0.4]
    planned = planning.plan([SMOKE], ["method.alpha=0.3"], methods)
    assert [run.config.method.options.get("alpha") for run in planned] == [None, 0.3]
    with pytest.raises(ValueError, match="of supervised, mixup 'alhpa': did you mean 'alpha'"):
        planning.plan([SMOKE], sweeps={**methods, "method.alhpa": [0.2, 0.4]})


def test_every_combination_of_two_settings():
    sweeps = {"method.alpha": [0.2, 0.4], "method.name": ["mixup"], "method.share": [0.5, 1.0]}
    planned = planning.plan([SMOKE], sweeps=sweeps)
    options = [run.config.method.options for run in planned]
    assert {(o["alpha"], o["share"]) for o in options} == {
        *((0.2, 0.5), (0.2, 1.0)),
        *((0.4, 0.5), (0.4, 1.0)),
    }
    assert len(set(names(planned))) == 4


def test_combinations_that_are_the_same_run_are_planned_once():
    assert len(planning.plan([SMOKE], sweeps={"optim.lr": [0.05, 0.05]})) == 1


def test_runs_of_several_files_go_by_their_names(tmp_path):
    first = smoke_and(tmp_path / "a.toml", "")
    second = smoke_and(tmp_path / "b.toml", "\n[sweep]\noptim.lr = [0.1]\n")
    assert names(planning.plan([first, second])) == ["a/seed0", "b-lr=0.1/seed0"]
    twin = smoke_and(tmp_path / "other" / "a.toml", "\n[sweep]\noptim.lr = [0.2]\n")
    assert names(planning.plan([first, second, twin])) == [
        *("a/seed0", "b-lr=0.1/seed0", "other-a-lr=0.2/seed0"),
    ]
    far = smoke_and(tmp_path / "third" / "deep" / "a.toml", "")
    assert names(planning.plan([twin, far])) == ["other-a-lr=0.2/seed0", "third-deep-a/seed0"]
    with pytest.raises(ValueError, match="give each once, or copy one under another name"):
        planning.plan([first, first])


def test_names_may_stand_apart():
    assert planning.names("supervised, mixup ") == ["supervised", "mixup"]


@pytest.mark.parametrize(
    "text, values",
    [
        ("method.alpha=0.2,0.4", [0.2, 0.4]),
        ("model.arch=cifar_resnet8,cifar_resnet20", ["cifar_resnet8", "cifar_resnet20"]),
        ("data.augment=['crop'],['crop','flip']", [["crop"], ["crop", "flip"]]),
        ("compile=true,false", [True, False]),
    ],
)
def test_values_of_a_sweep(text, values):
    assert planning.sweep(text) == (text.partition("=")[0], values)
