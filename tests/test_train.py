"""What a run leaves behind, seen from outside."""

import dataclasses
import json
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from cohobate import config, defaults
from cohobate.tasks import TASKS
from places import SMOKE, rows


def test_a_run_folder_holds_what_the_readme_says(smoke, tmp_path):
    ran = smoke(tmp_path / "run", epochs=2)
    assert ran.code == 0, ran.err
    found = rows(tmp_path / "run")
    assert [row["epoch"] for row in found] == [0, 1]
    assert {"train/ce", "val/top1", "val/top5", "val/nll", "val/ece", "val/balanced"} <= {*found[0]}
    assert "test/top1" in found[1]
    assert "test/top1" not in found[0]
    assert found[0]["step"] >= 20
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {
        "config.toml",
        "environment.json",
        "last.ckpt",
        "model.safetensors",
        "config.json",
    } <= names
    assert not [name for name in names if name.endswith(".tmp")]
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["cost"]["parameters"] == 78_042
    assert environment["compile"] is False
    assert environment["command"].startswith("cohobate train")
    assert len(ran.out.strip().splitlines()) == 4, "compiled or not, a line an epoch, the end"


def test_a_step_that_cannot_fit_is_refused_before_anything_is_written(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr("cohobate.opening.free_memory", lambda device: 1_000_000)
    ran = smoke(tmp_path / "run", "data.batch_size=64")
    assert ran.code == 2
    assert "a step of 64 images would hold about" in ran.err
    assert "0.0 GB are free: lower data.batch_size=64" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_default_folder_says_data_network_method_and_seed(cohobate, tmp_path):
    assert cohobate("train", SMOKE, "optim.epochs=1", "seed=3").code == 0
    assert (tmp_path / "out/digits/cifar_resnet8/supervised/seed3/model.safetensors").is_file()


@pytest.mark.parametrize(
    "settings, folder",
    [
        (["model.arch=local-dir:/some/path"], "digits/local-dir._some_path/supervised/seed0"),
        (["model.arch=hf-hub:timm/resnet18.a1_in1k"], "digits/hf-hub.timm_resnet18.a1_in1k/"),
        (["method.name=own_method:Mine"], "digits/cifar_resnet8/own_method.Mine/seed0"),
        (["method.name=kd", "mix.name=mixup"], "digits/cifar_resnet8/kd-mixup/seed0"),
        (["task=segmentation", "data.name=voc2012"], "voc2012/cifar_resnet8-fpn/supervised/"),
        (
            ["task=detection", "data.name=voc2012", "model.detector=fcos"],
            "voc2012/cifar_resnet8-fcos/supervised/",
        ),
    ],
)
def test_every_name_is_one_part_of_the_default_folder(settings, folder):
    found = defaults.default_folder(config.load(SMOKE, settings))
    assert len(found.parts) == 5
    assert f"{found}".startswith(f"out/{folder}")


def test_a_run_with_mixing_and_one_without_lie_apart(cohobate, tmp_path):
    given = ("train", SMOKE, "optim.epochs=1", "data.per_class=8")
    assert cohobate(*given).code == 0
    assert cohobate(*given, "mix.name=cutmix").code == 0
    runs = tmp_path / "out/digits/cifar_resnet8"
    assert {path.name for path in runs.iterdir()} == {"supervised", "supervised-cutmix"}


def test_seeds_share_the_images_where_the_data_has_a_seed_of_its_own(smoke, tmp_path):
    few = ("data.per_class=8", "data.batch_size=40")
    for seed in (0, 1):
        smoke(tmp_path / f"own{seed}", *few, f"seed={seed}")
        smoke(tmp_path / f"shared{seed}", *few, f"seed={seed}", "data.seed=5")
    prints = {
        path.parent.name: json.loads(path.read_text())["train"]["fingerprint"]
        for path in tmp_path.glob("*/splits.json")
    }
    assert prints["own0"] != prints["own1"]
    assert prints["shared0"] == prints["shared1"]
    weights = [load_file(tmp_path / f"shared{seed}" / "model.safetensors") for seed in (0, 1)]
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_its_config_is_a_run_file_that_trains_the_same(smoke, cohobate, tmp_path):
    smoke(tmp_path / "a", "method.name=mixup", "method.alpha=0.7")
    again = cohobate("train", tmp_path / "a" / "config.toml", "--out", tmp_path / "b")
    assert again.code == 0, again.err
    assert tomllib.loads((tmp_path / "b/config.toml").read_text())["method"]["alpha"] == 0.7
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_timm_alone_loads_the_network(smoke, tmp_path):
    """In another process that never hears of cohobate, for a network of timm's own."""
    smoke(tmp_path / "run", "model.arch=resnet10t", "data.per_class=8", "data.batch_size=40")
    code = (
        "import sys, timm, torch; from safetensors.torch import load_file;"
        "net = timm.create_model('resnet10t', num_classes=10);"
        "net.load_state_dict(load_file(sys.argv[1] + '/model.safetensors'), strict=True);"
        "own = timm.create_model('local-dir:' + sys.argv[1], pretrained=True).eval();"
        "x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32);"
        "assert torch.equal(net.eval()(x), own(x));"
        "assert own.pretrained_cfg['input_size'] == (3, 32, 32), own.pretrained_cfg;"
        "assert len(own.pretrained_cfg['label_names']) == 10;"
        "assert 'cohobate' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "run"], check=True, timeout=120)


def test_a_cifar_network_loads_once_cohobate_is_imported(smoke, tmp_path):
    smoke(tmp_path / "run", "method.name=mixskd")
    net = timm.create_model("cifar_resnet8", num_classes=10)
    net.load_state_dict(load_file(tmp_path / "run/model.safetensors"), strict=True)


def test_evaluate_finds_the_score_that_training_wrote(smoke, cohobate, tmp_path):
    smoke(tmp_path / "run")
    ran = cohobate("evaluate", tmp_path / "run")
    assert ran.code == 0, ran.err
    expected = rows(tmp_path / "run")[-1]["test/top1"]
    assert f"{100 * expected:.2f} %" in next(
        line for line in ran.out.splitlines() if line.startswith("top1")
    )


def test_oracle_scores_are_labelled_so(smoke, tmp_path):
    smoke(tmp_path / "run", "eval.oracle=true", "data.val=0", epochs=2)
    found = rows(tmp_path / "run")
    assert "oracle/top1" in found[0]
    assert "test/top1" not in found[0]
    assert not [key for key in found[0] if key.startswith("val/")]


def test_the_average_of_the_weights_is_what_is_scored_and_exported(smoke, cohobate, tmp_path):
    smoke(tmp_path / "run", "optim.ema=0.99", epochs=2)
    averaged, raw = (load_file(tmp_path / f"run/{name}.safetensors") for name in ("model", "raw"))
    assert averaged.keys() == raw.keys()
    assert not torch.equal(averaged["head.fc.weight"], raw["head.fc.weight"])
    ran = cohobate("evaluate", tmp_path / "run")
    assert f"{100 * rows(tmp_path / 'run')[-1]['test/top1']:.2f} %" in ran.out


def test_accumulated_batches_are_one_step(smoke, tmp_path):
    smoke(tmp_path / "run", "optim.accumulate=2")
    assert rows(tmp_path / "run")[0]["step"] == 17  # 34 batches


def test_a_frozen_backbone_stays_and_its_classifier_learns(smoke, tmp_path):
    smoke(tmp_path / "first")
    ran = smoke(
        tmp_path / "second", f"init={tmp_path / 'first'}", "model.freeze=backbone", "seed=5"
    )
    assert ran.code == 0, ran.err
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("first", "second"))
    moved = {key for key in one if not torch.equal(one[key], two[key])}
    assert moved == {"head.fc.weight", "head.fc.bias"}


def test_a_lower_rate_for_the_backbone_moves_it_less(smoke, tmp_path):
    smoke(tmp_path / "first")
    start = f"init={tmp_path / 'first'}"
    one = load_file(tmp_path / "first/model.safetensors")
    moved = []
    for name, setting in (("same", []), ("slow", ["optim.backbone_lr=1e-6"])):
        assert smoke(tmp_path / name, start, *setting, "seed=5").code == 0
        two = load_file(tmp_path / name / "model.safetensors")
        key = next(key for key in one if key.endswith("weight") and one[key].ndim == 4)
        moved.append(float((two[key] - one[key]).norm()))
    assert moved[1] < 0.01 * moved[0]


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_any_mixing_crosses_a_method_that_owns_none(smoke, tmp_path, mixing):
    ran = smoke(
        tmp_path / "run", "method.name=label_smoothing", f"mix.name={mixing}", "mix.share=0.5"
    )
    assert ran.code == 0, ran.err


def test_a_teacher_is_a_run_folder_and_is_stored_once(smoke, tmp_path):
    smoke(tmp_path / "teacher", epochs=3)
    ran = smoke(tmp_path / "student", "method.name=kd", f"method.teacher={tmp_path / 'teacher'}")
    assert ran.code == 0, ran.err
    checkpoint = torch.load(tmp_path / "student/last.ckpt", weights_only=True)
    assert not [key for key in checkpoint["method"] if "teacher" in key]
    stored = load_file(tmp_path / "student/frozen.safetensors")
    taught = load_file(tmp_path / "teacher/model.safetensors")
    assert torch.equal(stored["teacher.net.net.head.fc.weight"], taught["head.fc.weight"])


def test_a_weak_teacher_is_warned_about(smoke, tmp_path):
    smoke(tmp_path / "teacher", "optim.lr=1e-9")
    ran = smoke(tmp_path / "student", "method.name=kd", f"method.teacher={tmp_path / 'teacher'}")
    assert "no better than chance" in ran.out


def test_a_teacher_is_judged_by_the_score_of_its_task(smoke, monkeypatch, tmp_path):
    assert smoke(tmp_path / "teacher", epochs=3).code == 0
    task = dataclasses.replace(
        TASKS["classification"], evaluate=lambda *_: {"mark": 0.0}, score="mark"
    )
    monkeypatch.setitem(TASKS, "classification", task)
    ran = smoke(tmp_path / "student", "method.name=kd", f"method.teacher={tmp_path / 'teacher'}")
    assert "no better than chance" in ran.out


def test_a_transformer_trains_on_small_images(smoke, tmp_path):
    ran = smoke(
        tmp_path / "run",
        *("model.arch=vit_tiny_patch16_224", "model.patch_size=8", "model.depth=4"),
        *("method.name=mixskd", "data.per_class=8", "optim.name=adamw"),
    )
    assert ran.code == 0, ran.err
    assert "generic branches" in ran.out
    facts = json.loads((tmp_path / "run/config.json").read_text())
    assert facts["model_args"]["img_size"] == [32, 32]


def test_npz_and_class_weights(smoke, tmp_path):
    random = np.random.default_rng(0)
    for name, count in (("train", 90), ("test", 30)):
        labels = np.arange(count) % 3
        images = labels[:, None, None, None] * 80 + random.integers(0, 60, (count, 24, 24, 1))
        np.savez(tmp_path / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    ran = smoke(
        tmp_path / "run",
        *("data.name=npz", f"data.root={tmp_path}", "data.class_weights=[1, 2, 0.5]"),
        epochs=4,
    )
    assert ran.code == 0, ran.err
    facts = json.loads((tmp_path / "run/config.json").read_text())
    assert facts["num_classes"] == 3
    assert facts["pretrained_cfg"]["input_size"] == [3, 24, 24]


def test_class_weights_of_classes_that_training_lacks(smoke, tmp_path):
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    for name in ("train", "test"):
        names = np.array(["ant", "bee", "cat"])
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels, classes=names)
    given = ("data.name=npz", f"data.root={tmp_path}", "data.batch_size=16")
    ran = smoke(tmp_path / "two", *given, "data.class_weights=[1, 2]")
    assert ran.code == 2
    assert "a list of 3 numbers" in ran.err
    for weights in ("[1, 2, 5]", "balanced"):
        ran = smoke(tmp_path / weights, *given, f"data.class_weights={weights}")
        assert ran.code == 0, ran.err
        assert 0 <= rows(tmp_path / weights)[-1]["test/balanced"] <= 1


def test_photographs_of_any_size_with_a_network_that_is_no_resnet(smoke, tmp_path, real_data):
    ran = smoke(
        tmp_path / "run",
        *("data.name=folder", f"data.root={real_data / 'hymenoptera'}", "data.size=64"),
        *("model.arch=mobilenetv3_small_050", "data.fraction=0.3", "data.batch_size=16"),
    )
    assert ran.code == 0, ran.err
    assert "test/top1" in rows(tmp_path / "run")[-1]


def test_overrides_combine_as_the_design_says():
    table = {"method": {"name": "mixskd", "alpha": 0.2}, "optim": {"epochs": 3}}
    given = config.override(table, ["method.per=sample", "method.name=mixup", "optim.lr=1"])
    assert given["method"] == {"name": "mixup", "per": "sample"}
    assert given["optim"] == {"epochs": 3, "lr": 1}
    resolved, notes = defaults.resolve(config.load(SMOKE, ["optim.epochs=2", "optim.warmup=9"]))
    assert resolved.optim.warmup == 1
    assert "cut to 1" in notes[0]


def test_a_file_more_is_no_silent_change_of_the_test_set(smoke, cohobate, tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    given = ("data.name=folder", f"data.root={tmp_path / 'data'}", "data.batch_size=8")
    assert smoke(tmp_path / "run", *given).code == 0
    Image.fromarray(pixels).save(tmp_path / "data" / "a" / "000.png")
    evaluate = ("evaluate", tmp_path / "run")
    for ran in (
        smoke(tmp_path / "run", *given),
        cohobate(*evaluate),
        cohobate(*evaluate, "data.skip_bad=true"),
        cohobate(*evaluate, "data.size=16"),
    ):
        assert ran.code == 2
        assert "splits.json" in ran.err
    ran = cohobate(*evaluate, given[1])
    assert ran.code == 0
    assert "warning: these are not the test images that" in ran.out


DAMAGE = ['{"train": ', "[1]", '{"train": 3}', '{"valid": {"images": 1, "fingerprint": ""}}']


def test_a_damaged_list_of_the_images_is_named(smoke, cohobate, tmp_path):
    run = tmp_path / "run"
    assert smoke(run).code == 0
    for content in DAMAGE:
        (run / "splits.json").write_text(content)
        for ran in (smoke(run), cohobate("evaluate", run)):
            assert ran.code == 2
            assert ran.err.startswith(f"cohobate: {run / 'splits.json'} is damaged: ")
            assert len(ran.err.splitlines()) == 1


def test_settings_that_change_nothing_do_not_block_going_on(smoke, tmp_path):
    assert smoke(tmp_path / "run").code == 0
    ran = smoke(tmp_path / "run", "data.workers=1", "checkpoint_every=7", "eval.batch_size=99")
    assert ran.code == 0, ran.err


def test_a_checkpoint_of_unknown_settings_is_not_continued(smoke, tmp_path):
    assert smoke(tmp_path / "run").code == 0
    (tmp_path / "run" / "config.toml").unlink()
    ran = smoke(tmp_path / "run", "optim.lr=1")
    assert ran.code == 2
    assert "without the config.toml" in ran.err
