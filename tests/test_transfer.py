"""A trained network as the encoder of another task, through the command line."""

import json
import tomllib
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from cohobate import Classifier, defaults
from cohobate.transfer import Source, Transfer
from cohobate.weights import load_network
from places import SMOKE

FEW = ("data.per_class=8", "data.batch_size=16", "compile=false", "model.stem_act=false")
TINY = (
    *("data.name=shapes", "data.size=32", "data.batch_size=8", "data.workers=0"),
    *("model.width=32", "optim.epochs=1", "compile=false"),
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A network of three stages that has learnt a few digits, with an option of its own."""
    from cohobate import config
    from cohobate.display import Silent
    from cohobate.train import train

    folder = tmp_path_factory.mktemp("digits") / "run"
    run = defaults.resolve(config.load(SMOKE, [*FEW, "optim.epochs=1"]))[0]
    train(run, folder, devices=1, display=Silent())
    return folder


def told(folder: Path) -> dict:
    return tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))


def test_a_run_becomes_the_encoder_of_another_task(cohobate, digits, few_shapes):
    given = (*TINY, f"data.root={few_shapes}", "model.freeze=backbone")
    ran = cohobate("transfer", "segmentation", digits, *given)
    assert ran.code == 0, ran.err
    folder = digits / "transfer" / "segmentation-shapes" / "seed0"
    assert f"{folder}: test/miou" in ran.out
    gave = (
        f"init={digits} gave tensors: 54 of 54 of the encoder, none of 66 of the decoder, none of 2"
    )
    assert gave in ran.out
    run = told(folder)
    assert (run["task"], run["init"]) == ("segmentation", str(digits))
    assert run["model"]["arch"] == "cifar_resnet8"
    assert run["model"]["stem_act"] is False
    assert run["model"]["decoder"] == "upernet"
    theirs, ours = (load_file(each / "model.safetensors") for each in (digits, folder))
    shared = [key for key in theirs if f"encoder.net.{key}" in ours]
    assert len(shared) > 30
    assert all(torch.equal(theirs[key], ours[f"encoder.net.{key}"]) for key in shared)
    before, after = load_network(digits), load_network(folder).encoder
    for name in ("mean", "std"):
        assert torch.equal(before.get_buffer(name), after.get_buffer(name)), "of its own images"
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    assert "test/miou" in json.loads(rows[-1])
    again = cohobate("transfer", "segmentation", digits, *given)
    assert again.code == 0, again.err


def test_what_a_source_says_of_the_network(tmp_path, digits):
    net = Classifier("resnet10t", 7, size=32, stem_width=24).net
    timm.models.save_for_hf(net, str(tmp_path / "net"), safe_serialization=True)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (tmp_path / "sub").mkdir()
    wanted = Transfer.of("segmentation", ["data.name=shapes"])

    def model(name, *overrides):
        each = Transfer.of("segmentation", ["data.name=shapes", *overrides])
        config = each.config(Source.of(str(name)))
        return config.init, config.model.arch, config.model.pretrained, config.model.options

    own = {"decoder": "upernet"}
    path = str(tmp_path / "net")
    assert model(path) == (
        path,
        "resnet10t",
        False,
        {**own, "stem_width": 24, "global_pool": "avg"},
    )
    file = f"{path}.pth"
    assert model(file, "model.arch=resnet10t") == (file, "resnet10t", False, own)
    assert model("timm:resnet18") == (None, "resnet18", True, own)
    folders = [wanted.folder(Source.of(name), 3) for name in (path, file, "timm:resnet18")]
    assert folders[0] == Path(path, "transfer/segmentation-shapes/seed3")
    assert len({*folders}) == 3
    assert all(folder.parts[:2] == ("out", "transfer") for folder in folders[1:])


def test_the_same_task_keeps_the_decoder_and_another_one_leaves_it():
    model = {"arch": "resnet18", "decoder": "fpn", "drop_path_rate": 0.1, "freeze": "backbone"}
    source = Source("run", Path("run"), model, "segmentation")
    segmenting = Transfer.of("segmentation", ["data.name=shapes"]).config(source)
    assert segmenting.model.model_dump() == {**model, "pretrained": False, "freeze": 0}
    assert source.encoder("classification") == {"arch": "resnet18", "drop_path_rate": 0.1}
    finding = Transfer.of("detection", ["data.name=shapes"]).config(source)
    assert finding.model.options == {"drop_path_rate": 0.1}
    found = Source("run", Path("run"), {"arch": "resnet18", "frozen_bn": True}, "detection")
    assert found.encoder("segmentation") == {"arch": "resnet18"}


def test_a_run_file_says_the_rest(tmp_path, digits):
    file = SMOKE.parent / "segmentation.toml"
    wanted = Transfer.of("segmentation", [], file)
    with pytest.raises(
        ValueError, match=r"model\.arch=resnet10t: the network in .* 'cifar_resnet8'"
    ):
        wanted.config(Source.of(str(digits)))
    own = tmp_path / "pixels.toml"
    own.write_text(file.read_text().replace('arch = "resnet10t"', "").replace('"fpn"', '"pspnet"'))
    source = Source.of(str(digits))
    wanted = Transfer.of("segmentation", ["optim.lr=0.5"], own)
    config = wanted.config(source, seed=4)
    assert (config.seed, config.optim.lr, config.optim.epochs) == (4, 0.5, 6)
    assert config.model.options == {"stem_act": False, "decoder": "pspnet", "width": 64}
    assert wanted.folder(source, 4) == digits / "transfer" / "pixels" / "seed4"


MISTAKES = {
    "no network": (["."], ["holds no trained network", "timm:NAME"]),
    "no such folder": (["nowhere"], ["nowhere holds no trained network"]),
    "run file": (["untrained.toml"], ["RUN_FOLDER=untrained.toml", "`cohobate train"]),
    "no data": (["RUN"], ["needs a data set: data.name=NAME"]),
    "data set": (["RUN", "data.name=shape"], ["did you mean 'shapes'"]),
    "network": (["RUN", "data.name=shapes", "model.arch=resnet18"], ["'cifar_resnet8'", "leave"]),
    "no pyramid": (["vit", "data.name=shapes"], ["is no pyramid"]),
    "start": (["RUN", "data.name=shapes", "init=x"], ["takes no init"]),
    "task": (["RUN", "--run", SMOKE], ["is a run file of task=classification"]),
    "setting": (["RUN", "data.name=shapes", "optim.epoch=3"], ["did you mean 'epochs'"]),
    "file of unknown": (["net.pth", "data.name=shapes"], ["does not tell", "model.arch=NAME"]),
    "no checkpoint": (["text.pth", "data.name=shapes", "model.arch=resnet10t"], ["checkpoint"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(cohobate, tmp_path, digits, few_shapes, mistake):
    given, words = MISTAKES[mistake]
    if "vit" in given:
        net = timm.create_model("test_vit", num_classes=3)
        timm.models.save_for_hf(net, str(tmp_path / "vit"), safe_serialization=True)
    (tmp_path / "untrained.toml").write_text("seed = 3")
    (tmp_path / "net.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("no weights")
    named = [digits if each == "RUN" else each for each in given]
    if "data.name=shapes" in given:
        named.append(f"data.root={few_shapes}")
    ran = cohobate("transfer", "segmentation", *named, "data.size=32", "model.width=32")
    assert ran.code == 2, ran.out
    assert ran.err.startswith("cohobate: ")
    assert "Traceback" not in ran.err
    assert [word for word in words if word not in ran.err] == []


@pytest.mark.parametrize("arguments", [["transfer"], ["transfer", "segmentaton"]])
def test_a_wrong_command(cohobate, arguments):
    ran = cohobate(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err
