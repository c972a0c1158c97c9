"""Every mistake of a user ends in one sentence that names it, and exit code 2."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from places import ROOT, SMOKE


def pictures(root, classes=("ant", "bee"), count=6, size=24):
    """A folder of class folders of noise."""
    random = np.random.default_rng(0)
    for name in classes:
        (root / "train" / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{i}.png")
    return root


def arrays(root, labels, **more):
    images = np.zeros((len(labels), 24, 24, 3), np.uint8)
    for name in ("train", "test"):
        np.savez(root / f"{name}.npz", images=images, labels=np.array(labels), **more)
    return root


MISTAKES = {
    "method": (["method.name=mixskdd"], ["mixskdd", "did you mean 'mixskd'", "supervised"]),
    "method option": (["method.name=mixskd", "method.alhpa=1"], ["alhpa", "did you mean 'alpha'"]),
    "model": (
        ["model.arch=resnet181"],
        ["resnet181", "did you mean 'resnet18'", "cohobate models"],
    ),
    "model option": (
        ["model.drop_pth=0.1"],
        ["model 'cifar_resnet8'", "'drop_pth': did you mean 'drop_rate'? choose from arch, "],
    ),
    "timm model option": (
        ["model.arch=resnet10t", "model.drop_pth_rate=0.1"],
        ["'resnet10t': unknown option of [model] 'drop_pth_rate': did you mean 'drop_path_rate'?"],
    ),
    "model option's type": (["model.drop_rate=a"], ["model 'cifar_resnet8' cannot be built with"]),
    "method without options": (
        ["method.foo=1"],
        ["unknown option of [method] 'foo': 'supervised' takes no options"],
    ),
    "data set": (["data.name=cifr10"], ["cifr10", "did you mean 'cifar10'", "folder"]),
    "setting": (["optim.epoch=3"], ["epoch", "did you mean 'epochs'"]),
    "table of several": (["name=kd"], ["did you mean 'data.name' or ", "'method.name'"]),
    "table left out": (["epochs=3"], ["unknown setting 'epochs': did you mean 'optim.epochs'"]),
    "table": (["optimizer.lr=3"], ["optimizer"]),
    "no setting": (["epochs"], ["'epochs' is no setting", "key=value"]),
    "alpha": (["method.name=mixskd", "method.alpha=-1"], ["method.alpha=-1", "greater than 0"]),
    "epochs": (["optim.epochs=0"], ["optim.epochs=0", "greater than or equal to 1"]),
    "type": (["data.batch_size=many"], ["data.batch_size=many", "integer"]),
    "choice": (["optim.schedule=cosin"], ["optim.schedule=cosin", "'cosine'"]),
    "share": (["data.val=1.5"], ["data.val=1.5", "less than 1"]),
    "batch": (["data.batch_size=5000"], ["data.batch_size=5000", "larger than"]),
    "augmentation": (["data.augment=['flipp']"], ["flipp", "did you mean 'flip'"]),
    "per class": (["data.per_class=5000"], ["data.per_class=5000"]),
    "teacher": (["method.name=kd"], ["kd needs a teacher: method.teacher=RUN_FOLDER"]),
    "teacher folder": (["method.name=kd", "method.teacher=nowhere"], ["nowhere", "cohobate train"]),
    "mixing": (["mix.name=mixpu"], ["mixpu", "did you mean 'mixup'"]),
    "two mixings": (["method.name=mixskd", "mix.name=mixup"], ["mixskd", "mix.name=none"]),
    "timm teacher": (
        ["method.name=kd", "method.teacher=timm:cifar_resnet8"],
        [
            "method.teacher=timm:cifar_resnet8: the pretrained weights of 'cifar_resnet8'",
            "or give a RUN_FOLDER",
        ],
    ),
    "unknown timm teacher": (
        ["method.name=kd", "method.teacher=timm:resnet181"],
        ["method.teacher=timm:resnet181: unknown model 'resnet181': did you mean 'resnet18'?"],
    ),
    "timm teacher without heads": (
        ["method.name=hsakd", "method.teacher=timm:resnet18"],
        ["method.teacher=timm:resnet18: a network of timm's has no auxiliary parts"],
    ),
    "nothing to keep": (
        ["method.name=hsakd_teacher", "method.frozen=true"],
        ["method.frozen=true", "init=RUN_FOLDER", "model.pretrained=true"],
    ),
    "init": (["init=nowhere"], ["init=nowhere"]),
    "freeze": (["model.freeze=9"], ["model.freeze=9", "3 stages"]),
    "too few to mix": (
        ["method.name=mixup", "method.share=0.1", "data.batch_size=4"],
        ["share=0.1: of a batch of 4 no image would be mixed", "batches of 6 or more"],
    ),
    "nobody to mix with": (
        ["mix.name=cutmix", "data.batch_size=1"],
        ["share=1: of a batch of 1 no image would be mixed", "batches of 2 or more"],
    ),
    "ramp": (
        ["method.name=frskd", "method.ramp_start=0.5"],
        ["ramp_end=0 lies before ramp_start=0.5"],
    ),
    "milestones": (["optim.schedule=step"], ["optim.milestones"]),
    "weights": (["data.class_weights=[1, 2]"], ["data.class_weights", "10 numbers"]),
    "pretrained": (["model.pretrained=true"], ["pretrained weights of 'cifar_resnet8'"]),
    "size": (["model.arch=vit_tiny_patch16_224", "data.size=10"], ["data.size=10", "vit_tiny"]),
    "root": (["data.name=folder"], ["data.root"]),
    "cifar": (["data.name=cifar10", "data.root=nowhere"], ["nowhere", "data.download=true"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_setting(cohobate, tmp_path, mistake):
    settings, words = MISTAKES[mistake]
    ran = cohobate("train", SMOKE, "optim.epochs=1", *settings, "--out", tmp_path / "run")
    assert ran.code == 2
    assert ran.err.startswith("cohobate: ")
    assert "Traceback" not in ran.err
    assert [word for word in words if word not in ran.err] == []
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_run_file_that_is_not_there(cohobate):
    ran = cohobate("train", SMOKE.parent / "clasification.toml")
    assert ran.code == 2
    assert "classification.toml" in ran.err


def test_a_run_file_that_is_no_toml(cohobate, tmp_path):
    (tmp_path / "run.toml").write_text("[model\narch = 3")
    ran = cohobate("train", tmp_path / "run.toml")
    assert ran.code == 2
    assert "run.toml is not valid TOML" in ran.err


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train"], ["compare"], ["train", "x", "--devises"]]
)
def test_a_wrong_command(cohobate, arguments):
    ran = cohobate(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_an_empty_class_folder(smoke, tmp_path):
    root = pictures(tmp_path / "data")
    (root / "train" / "fly").mkdir()
    ran = smoke(tmp_path / "run", "data.name=folder", f"data.root={root}")
    assert ran.code == 2
    assert str(root / "train" / "fly") in ran.err


def test_one_class_only(smoke, tmp_path):
    root = pictures(tmp_path / "data", classes=("ant",))
    ran = smoke(tmp_path / "run", "data.name=folder", f"data.root={root}")
    assert ran.code == 2
    assert "one class" in ran.err


def test_an_empty_folder(smoke, tmp_path):
    (tmp_path / "data").mkdir()
    ran = smoke(tmp_path / "run", "data.name=folder", f"data.root={tmp_path / 'data'}")
    assert ran.code == 2
    assert "train/CLASS" in ran.err or "class folder" in ran.err


def test_a_truncated_image_is_named_or_skipped(smoke, tmp_path):
    root = pictures(tmp_path / "data", count=20)
    bad = root / "train" / "bee" / "3.png"
    bad.write_bytes(bad.read_bytes()[:200])
    given = ("data.name=folder", f"data.root={root}", "data.batch_size=8")
    ran = smoke(tmp_path / "run", *given)
    assert ran.code == 2
    assert str(bad) in ran.err
    assert "data.skip_bad=true" in ran.err
    ran = smoke(tmp_path / "run", *given, "data.skip_bad=true")
    assert ran.code == 0, ran.err
    assert "1 unreadable image skipped: bee/3.png" in ran.out


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "LA"])
def test_every_colour_mode_is_taken(smoke, tmp_path, mode):
    root = pictures(tmp_path / "data", count=12)
    for path in (root / "train" / "ant").iterdir():
        image = Image.open(path)
        if mode == "I;16":
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
        elif mode == "CMYK":
            image.convert(mode).save(path.with_suffix(".jpg"))
            path.unlink()
        else:
            image.convert(mode).save(path)
    given = ("data.name=folder", f"data.root={root}", "data.batch_size=8")
    ran = smoke(tmp_path / "run", *given)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("labels", [[0, 1, 7], [0, 1, -1]])
def test_labels_out_of_range(smoke, tmp_path, labels):
    root = arrays(tmp_path, labels * 8, classes=np.array(["a", "b", "c"]))
    ran = smoke(tmp_path / "run", "data.name=npz", f"data.root={root}", "data.batch_size=4")
    assert ran.code == 2
    assert "train.npz" in ran.err


def test_a_teacher_of_other_classes(smoke, tmp_path):
    root = arrays(tmp_path, [0, 1, 2] * 8)
    given = ("data.name=npz", f"data.root={root}", "data.batch_size=4")
    assert smoke(tmp_path / "teacher", *given).code == 0
    ran = smoke(tmp_path / "run", "method.name=kd", f"method.teacher={tmp_path / 'teacher'}")
    assert ran.code == 2
    assert "knows 3 classes" in ran.err


@pytest.fixture
def plain(smoke, tmp_path):
    """Trains a network on arrays of three classes by name; what tells a run of the same data."""

    def train(name, *names) -> tuple:
        root = tmp_path / f"{name}-data"
        root.mkdir()
        arrays(root, list(range(len(names))) * 8, classes=np.array(names))
        given = ("data.name=npz", f"data.root={root}", "data.batch_size=4")
        assert smoke(tmp_path / name, *given).code == 0
        return given

    return train


@pytest.mark.parametrize("method", ["kd", "mixkd"])
def test_a_teacher_whose_classes_have_other_names(smoke, plain, tmp_path, method):
    plain("teacher", "ant", "bee", "fly")
    teach = (f"method.name={method}", f"method.teacher={tmp_path / 'teacher'}")
    given = plain("other", "bee", "ant", "fly")
    ran = smoke(tmp_path / "run", *given, *teach)
    assert ran.code == 2
    assert f"method.teacher={tmp_path / 'teacher'} was trained on other classes" in ran.err
    assert "its class 0 is 'ant', and that of the data 'bee'" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["kd", "mixkd"])
def test_a_teacher_of_another_size(smoke, tmp_path, method):
    few = ("data.per_class=4", "data.batch_size=16")
    assert smoke(tmp_path / "teacher", *few).code == 0
    teach = (f"method.name={method}", f"method.teacher={tmp_path / 'teacher'}")
    ran = smoke(tmp_path / "run", *teach, *few, "data.size=48")
    assert ran.code == 2
    assert "takes images of 32 pixels, and the data has 48: set data.size=32" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_classifier_of_other_classes_is_not_kept(smoke, plain, tmp_path):
    plain("two", "ant", "bee")
    plain("three", "bee", "ant", "fly")
    given = plain("data", "ant", "bee", "fly")
    keep = ("method.name=hsakd_teacher", "method.frozen=true")
    for start, reason in (
        ("two", "their numbers differ"),
        ("three", "its class 0 is 'bee', and that of the data 'ant'"),
    ):
        ran = smoke(tmp_path / "run", *given, *keep, f"init={tmp_path / start}")
        assert ran.code == 2
        assert f"init={tmp_path / start} was trained on other classes than 'npz'" in ran.err
        assert reason in ran.err
        assert "method.frozen=true" in ran.err
        assert not (tmp_path / "run").exists()
    assert smoke(tmp_path / "tuned", *given, f"init={tmp_path / 'two'}").code == 0
    assert smoke(tmp_path / "kept", *given, *keep, f"init={tmp_path / 'data'}").code == 0


def test_pretrained_weights_of_other_classes_are_not_kept(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: None)
    keep = ("method.name=hsakd_teacher", "method.frozen=true", "model.pretrained=true")
    ran = smoke(tmp_path / "run", *keep, "model.arch=resnet10t")
    assert ran.code == 2
    assert "model.pretrained=true was trained on other classes than 'digits' has" in ran.err


def test_a_network_without_stages(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr("cohobate.models.classifier.read_stages", lambda net: ())
    ran = smoke(tmp_path / "run", "method.name=mixskd")
    assert ran.code == 2
    assert "stages" in ran.err
    assert smoke(tmp_path / "plain").code == 0


def test_out_of_memory_names_the_batch(smoke, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("cohobate.engine.Training.advance", fail)
    ran = smoke(tmp_path / "run", "method.name=mixskd", "data.batch_size=64")
    assert ran.code == 2
    assert "data.batch_size=64: 'mixskd' computes " in ran.err
    assert "data.batch_size=32 with optim.accumulate=2" in ran.err


@pytest.mark.parametrize("size", [100_000, 10**10])
def test_images_that_no_memory_holds(smoke, tmp_path, size):
    ran = smoke(tmp_path / "run", f"data.size={size}")
    assert ran.code == 2
    assert ran.err.startswith("cohobate: out of memory: a smaller data.size")
    assert "data.batch_size" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_network_that_no_memory_lets_an_image_pass(smoke, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 EB")

    monkeypatch.setattr("cohobate.models.classifier.Classifier.forward", fail)
    ran = smoke(tmp_path / "run")
    assert ran.code == 2
    assert ran.err.startswith("cohobate: out of memory: a smaller data.size")


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(smoke, tmp_path):
    ran = smoke(tmp_path / "run", "optim.lr=1e30", "optim.clip=0", "precision=float32")
    assert ran.code == 1
    assert "'ce'" in ran.err
    assert "no state was saved yet" in ran.err
    assert not (tmp_path / "run" / "last.ckpt").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(smoke, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    ran = smoke(tmp_path / "locked" / "run")
    assert ran.code == 2
    assert "ermission" in ran.err


NOWHERE = ["file", "file/run", "/proc/run"]


@pytest.mark.parametrize("out", NOWHERE)
def test_a_folder_that_cannot_be_written_is_found_first(smoke, tmp_path, monkeypatch, out):
    monkeypatch.setattr("cohobate.build.load_data", lambda config: pytest.fail("data was read"))
    (tmp_path / "file").write_text("")
    ran = smoke(tmp_path / out)
    assert ran.code == 2
    assert ran.err.startswith(f"cohobate: the folder {tmp_path / out} cannot be written to (")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("out", NOWHERE)
def test_a_comparison_that_cannot_be_written_is_found_first(cohobate, tmp_path, out):
    (tmp_path / "file").write_text("")
    ran = cohobate("compare", SMOKE, "--out", tmp_path / out)
    assert ran.code == 2
    assert f"the folder {tmp_path / out} cannot be written to (" in ran.err
    assert ran.out == ""


def test_a_folder_is_left_as_it_was_where_the_run_is_refused(smoke, tmp_path):
    assert smoke(tmp_path / "one" / "run", "optim.schedule=step").code == 2
    assert smoke(tmp_path / "two" / "run", "data.per_class=5000").code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_loses_nothing(smoke, tmp_path, monkeypatch):
    from cohobate.rundir import RunDir

    assert smoke(tmp_path / "run", epochs=2).code == 0
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    before = RunDir.save

    def full(self, state):
        if state["step"] > 34:
            with open("/dev/full", "w") as disk:
                disk.write("x")
        before(self, state)

    monkeypatch.setattr(RunDir, "save", full)
    ran = smoke(tmp_path / "again", epochs=2)
    assert ran.code == 2
    assert "no space is left" in ran.err
    monkeypatch.setattr(RunDir, "save", before)
    assert smoke(tmp_path / "again", epochs=2).code == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == whole


def test_comparing_what_is_no_run(cohobate, tmp_path):
    ran = cohobate("compare", tmp_path)
    assert ran.code == 2
    assert str(tmp_path) in ran.err


def test_evaluating_what_is_no_run(cohobate, tmp_path):
    ran = cohobate("evaluate", tmp_path)
    assert ran.code == 2
    assert "no run folder" in ran.err


def test_tables_are_plain_and_unwrapped_without_a_terminal(smoke, cohobate, tmp_path):
    for seed in (0, 1):
        smoke(tmp_path / f"s{seed}", f"seed={seed}")
        smoke(tmp_path / f"l{seed}", f"seed={seed}", "method.name=label_smoothing")
    ran = cohobate("compare", *(tmp_path / name for name in ("s0", "s1", "l0", "l1")))
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split()[:2] == ["method", "seeds"]
    assert lines[1].startswith("supervised")
    assert "±" in lines[1]
    assert lines[2].startswith("label_smoothing")
    assert (tmp_path / "out" / "compare" / "report.html").is_file()


def test_methods_and_models_are_listed(cohobate):
    listed = cohobate("methods").out
    assert "mixskd" in listed
    assert "2208.05768" in listed
    page = cohobate("methods", "mixskd").out
    assert 'variant = "paper"  # "paper" or "released"' in page
    page = cohobate("methods", "mlkd").out
    assert "temperatures = [2.0, 3.0, 4.0, 5.0, 6.0]  # list of float, > 0" in page
    assert cohobate("methods", "mixsdk").code == 2
    for recipe in ("born_again", "takd"):
        told = " ".join(cohobate("methods", recipe).out.split())
        file = next(word for word in told.split("`") if word.endswith(".toml")).split()[-1]
        assert (ROOT / file).is_file()
        assert f"{recipe} " in listed
        assert file in listed
    assert "cifar_wrn_40_2" in cohobate("models", "cifar_*").out
    assert "278,324 parameters" in cohobate("models", "cifar_resnet20").out
    assert cohobate("models", "no_such_net").code == 2
