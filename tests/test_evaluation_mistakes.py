"""What a user of `cohobate evaluate` can get wrong: one sentence each."""

import shutil

import numpy as np
import pytest
import timm
from safetensors.torch import load_file, save_file

from cohobate.models import Classifier


def arrays(folder, classes, count=20):
    for name in ("train", "test"):
        images = np.zeros((count, 8, 8), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=np.arange(count) % classes)


MISTAKES = {
    "no network": (["nowhere"], "nowhere is no run folder, no folder of timm's form"),
    "split": (["RUN", "data.name=digits", "data.val=0", "--split", "val"], "--split val: this data has train, test"),
    "cut": (["RUN", "data.seed=1", "--split", "val"], "takes no data.seed without data.name or data.root"),
    "classes": (["RUN", "data.name=npz", "data.root=THREE"], "knows 10 classes, and the data 'npz' has 3"),
    "names": (["RUN", "data.name=npz", "data.root=OTHER"], "other classes than 'npz' has: its class 0 is '0'"),
    "no data": (["RUN/model.safetensors"], "is no run, which would name its data: add data.name=NAME"),
    "no arch": (["RUN/model.safetensors", "data.name=digits"], "say which network it holds by model.arch=NAME"),
    "arch": (["RUN/model.safetensors", "data.name=digits", "model.arch=resnet10t"], "is no network of model.arch='resnet10t'"),
    "no checkpoint": (["RUN/config.toml", "data.name=digits", "model.arch=resnet10t"], "cannot be read as a checkpoint"),
    "mean": (["RUN/model.safetensors", "data.name=digits", "model.arch=cifar_resnet8", "model.mean=3"], "model.mean=3: three numbers"),
    "damaged": (["DAMAGED"], "is damaged"),
    "no numbers": (["DIVERGED"], "DIVERGED, on test, says of 599 of 599 images what is no number"),
    "timm": (["timm:resnet181", "data.name=digits"], "unknown model 'resnet181'"),
    "teacher": (["RUN", "--teacher", "nowhere"], "nowhere holds no trained network"),
    "teacher's numbers": (["RUN", "--teacher", "DIVERGED"], "teacher DIVERGED says of 599 of 599 images what is no number"),
    "teacher's classes": (["RUN", "--teacher", "SEVEN"], "--teacher SEVEN knows 7 classes, and the data 'digits' has 10"),
    "robustness": (["RUN", "--robustness", "corruption"], "did you mean 'corruptions'"),
    "corrupted": (["RUN", "--corrupted", "nowhere"], "--corrupted nowhere is not a folder"),
    "shots": (["RUN", "--on", "digits", "--shots", "1,x"], "--shots 1,x should be whole numbers"),
    "no shots": (["RUN", "--on", "digits", "--shots", "0"], "--shots 0 should be 1 or more"),
    "many shots": (["RUN", "--on", "npz:THREE", "--shots", "9"], "--on npz:THREE: --shots 9 is more than class '2' has"),
    "setting": (["RUN", "model.arch=resnet10t"], "takes no model.arch: the network stays as it is; settings of data, eval,"),
    "setting of timm's": (["SEVEN", "data.name=digits", "optim.lr=1"], "SEVEN takes no optim.lr: the network stays as it is"),
    "on": (["RUN", "--on", "npz:nowhere"], "--on npz:nowhere: data.root=nowhere is not a folder"),
    "ood": (["RUN", "--ood", "digitz"], "--ood digitz: unknown dataset 'digitz': did you mean 'digits'"),
    "no ood": (["RUN", "--ood", "npz:EMPTY"], "holds 0 images and 0 labels"),
    "own ood": (["RUN", "--ood", "digits"], "--ood digits: it is the network's own data"),
    "out": (["RUN", "--out", "FILE"], "FILE is a file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(taught, cohobate, tmp_path, mistake):
    given, words = MISTAKES[mistake]
    for name in ("THREE", "OTHER", "EMPTY"):
        (tmp_path / name).mkdir()
    arrays(tmp_path / "THREE", 3)
    arrays(tmp_path / "OTHER", 10)
    for name in ("train", "test"):
        np.savez(
            tmp_path / f"EMPTY/{name}.npz",
            images=np.zeros((0, 8, 8), np.uint8),
            labels=np.zeros(0, int),
        )
    with np.load(tmp_path / "OTHER/train.npz") as file:
        np.savez(tmp_path / "OTHER/train.npz", **file, classes=list("abcdefghij"))
    timm.models.save_for_hf(
        Classifier("cifar_resnet8", 7).net, str(tmp_path / "SEVEN"), safe_serialization=True
    )
    shutil.copytree(taught / "moved", tmp_path / "DAMAGED")
    (tmp_path / "DAMAGED/model.safetensors").write_bytes(b"\0" * 100)
    shutil.copytree(taught / "moved", tmp_path / "DIVERGED")
    weights = load_file(tmp_path / "DIVERGED/model.safetensors")
    lost = {name: value * float("nan") for name, value in weights.items()}
    save_file(lost, tmp_path / "DIVERGED/model.safetensors")
    (tmp_path / "FILE").touch()
    ran = cohobate("evaluate", *(text.replace("RUN", str(taught / "moved")) for text in given))
    assert ran.code == 2
    assert ran.err.startswith("cohobate: ")
    assert len(ran.err.splitlines()) == 1
    assert words in ran.err
    assert "test: 599 images" not in ran.out or "numbers" in mistake  # told before the work
