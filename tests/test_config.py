"""What is said of settings that are of the wrong kind: one sentence for each, with the choices."""

import pytest

from cohobate import config, defaults
from places import SMOKE

A_LIST = "a list, such as"
SENTENCES = {
    "model.freeze=abc": "model.freeze=abc: input should be a valid integer or 'backbone'",
    "compile=maybe": "compile=maybe: input should be 'auto' or true or false",
    "data.class_weights=balance": (
        f"data.class_weights=balance: input should be 'balanced' or {A_LIST} '[1, 0.5, 2]'"
    ),
    "data.augment=crop": f'data.augment=crop: input should be {A_LIST} \'["crop", "flip"]\'',
    "data.augment=[crop]": f'data.augment=[crop]: input should be {A_LIST} \'["crop", "flip"]\'',
    "optim.milestones=5": f"optim.milestones=5: input should be {A_LIST} '[100, 150]'",
    "optim.milestones=[5, 'x']": "optim.milestones[1]=x: input should be a valid integer",
    "data.class_weights=[true]": "data.class_weights[0]=true: input should be a valid number",
    "model.freeze=true": "model.freeze=true: input should be a valid integer or 'backbone'",
    "optim.epochs=true": "optim.epochs=true: input should be a valid integer",
    "optim.lr=true": "optim.lr=true: input should be a valid number",
    "optim.nesterov=1": "optim.nesterov=1: input should be true or false",
    "compile=1": "compile=1: input should be 'auto' or true or false",
    "optim=3": "optim=3: input should be a table",
    "mix.alpha=1": "mix.name is missing",
}


@pytest.mark.parametrize("setting", SENTENCES)
def test_a_setting_of_the_wrong_kind(cohobate, setting):
    ran = cohobate("train", SMOKE, setting)
    assert ran.code == 2
    assert ran.err == f"cohobate: {SMOKE}: {SENTENCES[setting]}\n"


@pytest.mark.parametrize(
    "option, sentence",
    [
        ("alpha=true", "method.alpha=true: input should be a valid number"),
        ("alpha=inf", "method.alpha=inf: input should be a finite number"),
        ("per=all", "method.per=all: input should be 'batch' or 'sample'"),
    ],
)
def test_an_option_of_the_wrong_kind(cohobate, option, sentence):
    ran = cohobate("train", SMOKE, "method.name=mixup", f"method.{option}")
    assert ran.code == 2
    assert ran.err == f"cohobate: {sentence}\n"


def test_mistakes_in_several_settings_are_all_told(cohobate):
    ran = cohobate("train", SMOKE, "optim.epochs=0", "data.val=2")
    assert ran.code == 2
    for sentence in ("data.val=2: input should be less than 1", "; optim.epochs=0: input should"):
        assert sentence in ran.err


def test_whole_numbers_will_do_for_numbers():
    given = ["optim.lr=1", "data.val=0", "method.name=mixup", "method.alpha=1", "model.freeze=0"]
    run, _ = defaults.resolve(config.load(SMOKE, given))
    assert (run.optim.lr, run.data.val, run.method.options["alpha"]) == (1.0, 0.0, 1.0)
    assert run.model.freeze == 0


def test_every_setting_survives_being_written_and_read(tmp_path):
    given = ["data.augment=['crop']", "optim.milestones=[1, 2]", "data.class_weights=[0.1, 3]"]
    run, _ = defaults.resolve(config.load(SMOKE, [*given, "model.drop_rate=0.1", "mix.name=mixup"]))
    (tmp_path / "run.toml").write_text(run.toml())
    assert defaults.resolve(config.load(tmp_path / "run.toml"))[0] == run
