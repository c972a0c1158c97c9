"""Segmentation through the command line: trained, stopped, continued, taught, carried over."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cohobate.weights import load_network
from places import SMOKE, rows

RUN = SMOKE.parent / "segmentation.toml"
FAST = (
    *("data.fraction=0.25", "data.workers=0", "data.size=48", "compile=false"),
    *("optim.epochs=1", "model.arch=mobilenetv3_small_050", "model.width=32"),
)


@pytest.fixture()
def train(train_shapes):
    return partial(train_shapes, [RUN, *FAST])


def test_a_run_is_trained_scored_and_opened_again(train, cohobate, tmp_path):
    ran = train("run")
    assert ran.code == 0, ran.err
    assert "test/miou" in ran.out
    assert {"val/miou", "test/miou", "test/accuracy", "test/boundary_f"} <= {*rows("run")[-1]}
    ran = cohobate("evaluate", "run")
    assert ran.code == 0, ran.err
    assert "miou" in ran.out
    network = load_network(tmp_path / "run").eval()
    assert network(torch.rand(1, 3, 32, 40)).shape == (1, 4, 32, 40)


@pytest.mark.parametrize(
    "settings",
    [
        ("method.name=label_smoothing", "model.decoder=upernet"),
        ("method.name=frskd_segmentation", "model.decoder=bifpn"),
        ("method.name=dml",),
        ("method.name=mean_teacher",),
        ("mix.name=cutmix",),
    ],
    ids=lambda settings: settings[0].partition("=")[2],
)
def test_methods_of_one_network(train, settings):
    ran = train("run", *settings)
    assert ran.code == 0, ran.err
    assert all(v == v for v in rows("run")[-1].values())


def test_teachers_and_starts_are_run_folders(train):
    assert train("teacher").code == 0
    for name, size in (("kd", 64), ("cwd", 48), ("icsd", 48), ("nfd", 48)):  # the teacher's is 48
        other = ("model.arch=resnet10t", f"data.size={size}", "data.fraction=0.15")
        ran = train(name, f"method.name={name}", "method.teacher=teacher", *other)
        assert ran.code == 0, (name, ran.err)
    ran = train("later", "init=teacher", "model.freeze=backbone")
    assert ran.code == 0, ran.err
    first, later = (load_file(f"{run}/model.safetensors") for run in ("teacher", "later"))
    inner = [key for key in first if key.startswith("encoder.") and "running" not in key]
    assert inner and all(torch.equal(first[key], later[key]) for key in inner)


def test_an_encoder_comes_from_a_classification_run(train, smoke):
    net = (
        "model.arch=mobilenetv3_small_050",
        "data.size=32",
        "data.per_class=8",
        "data.batch_size=16",
    )
    assert smoke("digits", *net, "compile=false").code == 0
    ran = train("run", "init=digits", "model.freeze=backbone")
    assert ran.code == 0, ran.err
    theirs, ours = load_file("digits/model.safetensors"), load_file("run/model.safetensors")
    shared = [key for key in theirs if f"encoder.net.{key}" in ours and "running" not in key]
    assert len(shared) > 50
    assert all(
        torch.equal(theirs[key], ours[f"encoder.net.{key}"])
        for key in shared
        if theirs[key].is_floating_point()
    )
    ran = train("other", "init=digits", "model.arch=resnet10t")
    assert ran.code == 2
    assert "init=digits is no network of model.arch='resnet10t'" in ran.err


def test_a_stopped_run_goes_on_to_the_same_bits(train, tmp_path):
    assert train("whole", "optim.epochs=2").code == 0
    assert train("parts", "optim.epochs=2", "checkpoint_every=1").code == 0
    state = torch.load("parts/last.ckpt", weights_only=True)
    earlier = torch.load("parts/previous.ckpt", weights_only=True)
    assert earlier["step"] < state["step"]
    Path("parts/previous.ckpt").replace("parts/last.ckpt")
    Path("parts/model.safetensors").unlink()
    assert train("parts", "optim.epochs=2", "checkpoint_every=1").code == 0
    whole, parts = (load_file(f"{run}/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_mistakes_are_one_sentence(train):
    for settings, sentence in (
        (["method.name=bake"], "method 'bake' is for classification, and task=segmentation"),
        (["method.name=frskd_segmentation"], 'set model.decoder="bifpn"'),
        (["model.arch=vit_tiny_patch16_224"], "is no pyramid"),
        (["data.augment=['turn']"], "unknown augmentation in data.augment 'turn'"),
        (["data.per_class=5"], "data.fraction=0.1"),
        (["data.name=digits"], "unknown dataset 'digits'"),
    ):
        ran = train("run", *settings)
        assert ran.code == 2, settings
        assert sentence in ran.err
        assert "Traceback" not in ran.err


def test_commands_for_classification_refuse_a_run_of_masks(train, cohobate):
    assert train("run").code == 0
    for command in (
        ["evaluate", "run", "--ood", "digits"],
        ["transfer", "linear", "run", "data.name=digits"],
    ):
        ran = cohobate(*command)
        assert ran.code == 2, (command, ran.err)
        assert "for classification" in ran.err
        assert "Traceback" not in ran.err


def test_a_method_for_masks_is_refused_for_classes(smoke):
    ran = smoke("run", "method.name=frskd_segmentation")
    assert ran.code == 2
    assert "is for segmentation, and task=classification" in ran.err


def test_classes_of_whole_images_are_not_weighed(train):
    ran = train("run", "data.class_weights=balanced")
    assert ran.code == 2
    assert "data.class_weights=balanced: an image is of no class as a whole" in ran.err
