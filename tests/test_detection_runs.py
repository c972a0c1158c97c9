"""Detection through the command line: trained, stopped, continued, taught, carried over."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.ops import batched_nms

from cohobate.models import Detector
from cohobate.weights import load_network, start_from
from places import SMOKE, rows

RUN = SMOKE.parent / "detection.toml"
FAST = (
    *("data.fraction=0.1", "data.workers=0", "data.size=32", "data.batch_size=4", "compile=false"),
    *("optim.epochs=1", "model.arch=cifar_resnet8", "model.width=64"),
)


@pytest.fixture()
def train(train_shapes):
    return partial(train_shapes, [RUN, *FAST])


def test_a_run_is_trained_scored_and_opened_again(train, cohobate, tmp_path):
    ran = train("run")
    assert ran.code == 0, ran.err
    assert "test/map" in ran.out
    assert {"val/map", "test/map", "test/map50"} <= {*rows("run")[-1]}
    ran = cohobate("evaluate", "run")
    assert ran.code == 0, ran.err
    assert "map50" in ran.out
    network = load_network(tmp_path / "run").eval()
    found = network.detect(torch.rand(1, 3, 32, 64), [(32, 40)])
    assert {*found[0]} == {"boxes", "scores", "labels"}


@pytest.mark.parametrize("kind", ["fasterrcnn", "maskrcnn", "retinanet"])
def test_other_detectors(train, kind):
    ran = train("run", f"model.detector={kind}", "model.frozen_bn=true", "optim.ema=0.9")
    assert ran.code == 0, ran.err
    assert all(value == value for value in rows("run")[-1].values())


def test_teachers_and_starts_are_run_folders(train):
    assert train("teacher").code == 0
    for name in ("pkd", "detection_kd"):
        ran = train(name, f"method.name={name}", "method.teacher=teacher", "data.size=32")
        assert ran.code == 0, (name, ran.err)
    ran = train("later", "init=teacher", "model.freeze=backbone", "model.detector=retinanet")
    assert ran.code == 0, ran.err
    first, later = (load_file(f"{run}/model.safetensors") for run in ("teacher", "later"))
    inner = [key for key in first if ".encoder." in key and "running" not in key]
    assert inner and all(torch.equal(first[key], later[key]) for key in inner)


def test_an_encoder_comes_from_a_classification_run(train, smoke):
    few = ("model.arch=cifar_resnet8", "data.per_class=8", "data.batch_size=16")
    assert smoke("digits", *few, "compile=false").code == 0
    ran = train("run", "init=digits", "model.freeze=backbone")
    assert ran.code == 0, ran.err
    theirs, ours = load_file("digits/model.safetensors"), load_file("run/model.safetensors")
    shared = [key for key in theirs if f"backbone.encoder.net.{key}" in ours]
    assert len(shared) > 30
    assert all(torch.equal(theirs[key], ours[f"backbone.encoder.net.{key}"]) for key in shared)
    ran = train("other", "init=digits", "model.arch=resnet10t")
    assert ran.code == 2
    assert "init=digits is no network of model.arch='resnet10t'" in ran.err


def test_a_stopped_run_goes_on_to_the_same_bits(train):
    two = ("optim.epochs=2", "model.detector=fasterrcnn")  # which draws boxes at random
    assert train("whole", *two).code == 0
    assert train("parts", *two, "checkpoint_every=1").code == 0
    state = torch.load("parts/last.ckpt", weights_only=True)
    earlier = torch.load("parts/previous.ckpt", weights_only=True)
    assert earlier["step"] < state["step"]
    Path("parts/previous.ckpt").replace("parts/last.ckpt")
    Path("parts/model.safetensors").unlink()
    assert train("parts", *two, "checkpoint_every=1").code == 0
    whole, parts = (load_file(f"{run}/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_mistakes_are_one_sentence(train):
    for settings, sentence in (
        (["method.name=dml"], "is for classification and segmentation, and task=detection"),
        (["method.name=mixskd"], "choose from detection_kd, pkd, supervised"),
        (["mix.name=mixup"], "mix.name=mixup: images of task=detection are not mixed"),
        (["model.arch=vit_tiny_patch16_224"], "is no pyramid"),
        (["model.detector=yolo"], "unknown detector 'yolo'"),
        (["method.name=pkd"], "needs a teacher"),
        (["data.per_class=5"], "data.fraction=0.1"),
    ):
        ran = train("run", *settings)
        assert ran.code == 2, settings
        assert sentence in ran.err
        assert "Traceback" not in ran.err


def test_explain_tells_levels_losses_and_costs(cohobate):
    ran = cohobate("explain", RUN)
    assert ran.code == 0, ran.err
    for word in ("centerness", "layer4", "multiply-adds", "labels"):
        assert word in ran.out


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_what_is_said_of_every_place_is_after_suppression_what_is_found(kind):
    torch.manual_seed(0)
    network = Detector("test_resnet", 3, detector=kind, width=64, size=64).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        network.heads.net.head.classification_head.cls_logits.weight.mul_(50)  # no two alike
        boxes, scores = network.every(images)
        network.heads.net.score_thresh = least = float(scores.quantile(0.99))
        for found, where, sure in zip(network(images), boxes, scores):
            place, label = (sure > least).nonzero(as_tuple=True)
            kept = batched_nms(where[place], sure[place, label], label, network.overlap)
            assert len(kept) > 3
            kept = kept[: network.heads.net.detections_per_img]
            torch.testing.assert_close(found["boxes"], where[place][kept])
            torch.testing.assert_close(found["scores"], sure[place, label][kept])
            assert torch.equal(found["labels"], label[kept])


@pytest.mark.slow
def test_a_detector_of_one_stage_is_exported(train, cohobate, tmp_path):
    assert train("run", "data.size=40").code == 0
    ran = cohobate("export", "run", "--format", "torch-export", "--out", "net")
    assert ran.code == 0, ran.err
    assert "its boxes and scores differ from PyTorch's by" in ran.out
    graph = torch.export.load("net/model.pt2").module()
    images = torch.rand(3, 3, 64, 64)  # whole cells of 32 pixels
    with torch.no_grad():
        expected = load_network(tmp_path / "net").eval().every(images)
    for ours, theirs in zip(expected, graph(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    card = Path("net/README.md").read_text()
    assert "boxes, scores = network(images)" in card
    assert "float32 (B, 3, 64, 64)" in card and "long side resized to 40 pixels" in card
    assert "(scores[0] > 0.2).nonzero(as_tuple=True)" in card


def test_what_takes_no_detector_says_so(train, cohobate):
    assert train("run", "model.detector=fasterrcnn").code == 0
    for command, sentence in (
        (["export", "run", "--format", "onnx"], "'fasterrcnn' cannot be exported"),
        (["transfer", "linear", "run", "data.name=digits"], "holds a network for detection"),
    ):
        ran = cohobate(*command)
        assert ran.code == 2, (command, ran.err)
        assert sentence in ran.err
        assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "setting, sentence",
    [
        ("model.frozen_bn=False", "model.frozen_bn=False: input should be true or false"),
        ("model.width=wide", "model.width=wide: input should be a valid integer"),
        ("model.detector=5", "model.detector=5: input should be a valid string"),
    ],
)
def test_an_option_of_the_wrong_kind_is_one_sentence(train, setting, sentence):
    ran = train("run", setting)
    assert (ran.code, ran.err) == (2, f"cohobate: {sentence}\n")


def test_an_unknown_option_is_told_with_those_of_the_detector_itself(train):
    ran = train("run", "model.frozen_b=true")
    assert ran.code == 2
    assert "unknown option of [model] 'frozen_b': did you mean 'frozen_bn'? " in ran.err
    for name in ("detector", "drop_rate", "freeze", "width"):  # its own, timm's, and a run's
        assert f" {name}," in f"{ran.err.strip()},"


def test_a_start_of_another_network_with_the_same_names_is_refused(tmp_path):
    shape = {"detector": "fcos", "width": 64, "size": 32}
    narrow, wide = (
        Detector(arch, 3, **shape) for arch in ("mobilenetv3_small_050", "mobilenetv3_small_075")
    )
    assert {*narrow.state_dict()} == {*wide.state_dict()}
    save_file(narrow.state_dict(), tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=r"is no network of model\.arch='mobilenetv3_small_075'"):
        start_from(wide, str(tmp_path / "narrow.safetensors"))
