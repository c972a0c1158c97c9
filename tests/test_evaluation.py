"""`cohobate evaluate` on runs, on other networks and on other data, as a user has them."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn import metrics
from torch.nn.functional import cross_entropy

from cohobate import build, config, evaluation, trained
from cohobate.analysis.scoring import ClassScores
from cohobate.data.loader import EvalLoader
from cohobate.models import Classifier
from cohobate.weights import load_network


@pytest.fixture
def evaluated(cohobate, tmp_path):
    """Evaluates with arguments, and returns scores.json."""

    def run(*arguments):
        ran = cohobate("evaluate", *arguments, "--out", tmp_path / "out")
        assert ran.code == 0, ran.err
        return json.loads((tmp_path / "out" / "scores.json").read_text())

    return run


def logits(folder, split="test"):
    """What a run's network says of a split of its data, and the classes."""
    opened = trained.reopen(folder)
    network = opened.network.eval()
    batches = EvalLoader(opened.split(split), size=32, batch_size=100)
    with torch.no_grad():
        rows = [(network(batch.images), batch.targets) for batch in batches]
    return tuple(torch.cat(each) for each in zip(*rows))


@pytest.mark.parametrize("split", ["test", "val"])
def test_scores_are_those_of_training_and_of_scikit_learn(taught, evaluated, split):
    found = evaluated(taught / "moved", "--split", split)
    row = json.loads((taught / "moved" / "metrics.jsonl").read_text().splitlines()[-1])
    for name in ("top1", "top5", "balanced", "nll", "brier", "ece"):
        assert found["scores"][name] == pytest.approx(row[f"{split}/{name}"], abs=1e-5), name
    said, true = logits(taught / "moved", split)
    p = said.double().softmax(1).numpy()
    assert found["scores"]["top1"] == pytest.approx(metrics.accuracy_score(true, p.argmax(1)))
    assert found["scores"]["nll"] == pytest.approx(
        metrics.log_loss(true, p, labels=range(10)), rel=1e-4
    )
    order = np.argsort(-p.max(1))
    wrong = (p.argmax(1) != true.numpy())[order]
    aurc = np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))
    assert found["scores"]["aurc"] == pytest.approx(aurc, abs=1e-4)
    assert (found["data"], found["split"], found["images"]) == ("digits", split, len(true))
    assert found["teacher"] is None
    splits = json.loads((taught / "moved" / "splits.json").read_text())
    assert found["fingerprint"] == splits[split]["fingerprint"]
    assert found["environment"]["precision"] == "float32"
    assert str(taught / "moved") in found["environment"]["command"]


def test_the_tables_of_classes(taught, cohobate, tmp_path):
    ran = cohobate("evaluate", taught / "moved", "--out", tmp_path / "out")
    said, true = logits(taught / "moved")
    counts = metrics.confusion_matrix(true, said.argmax(1), labels=range(10))
    with (tmp_path / "out" / "confusion.csv").open() as file:
        heading, *rows = csv.reader(file)
    assert heading[1:] == [row[0] for row in rows] == list("0123456789")
    assert [[int(cell) for cell in row[1:]] for row in rows] == counts.tolist()
    with (tmp_path / "out" / "per_class.csv").open() as file:
        table = list(csv.DictReader(file))
    for number, row in enumerate(table):
        assert row["name"] == str(number)
        assert int(row["images"]) == counts[number].sum()
        assert float(row["accuracy"]) == pytest.approx(
            counts[number, number] / counts[number].sum()
        )
    worst = min(table, key=lambda row: float(row["accuracy"]))
    assert f"weakest classes: {worst['name']} ({100 * float(worst['accuracy']):.2f} %)" in ran.out
    np.fill_diagonal(counts, 0)
    a, b = np.unravel_index(counts.argmax(), counts.shape)
    assert f"most confused: {a} → {b} ({counts.max()})" in ran.out


def test_tables_of_another_evaluation_go_where_there_are_none(tmp_path):
    scores = ClassScores("0", 1, 1.0, 1.0, 1.0)
    facts = {"network": "", "data": "", "split": "test", "images": 1, "size": 8, "fingerprint": ""}
    of_classes = evaluation.Evaluation(
        **facts, notes=[], environment={}, scores={}, classes=[scores], confusion=[[1]]
    )
    written = evaluation.write(of_classes, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*written}
    assert written == ["scores.json", "per_class.csv", "confusion.csv"]
    of_masks = replace(of_classes, classes=[], confusion=[])
    assert evaluation.write(of_masks, tmp_path) == ["scores.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_the_same_network_from_every_form(taught, evaluated, tmp_path, monkeypatch):
    expected = evaluated(taught / "moved")["scores"]
    folder = tmp_path / "timm"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(taught / "moved" / name, folder)
    data = ("data.name=digits", "precision=float32")
    state = load_file(folder / "model.safetensors")
    torch.save(state, tmp_path / "plain.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
        tmp_path / "nested.pth",
    )
    facts = load_network(folder).net.pretrained_cfg
    arch = ["model.arch=cifar_resnet8", *(f"model.{k}={list(facts[k])}" for k in ("mean", "std"))]
    monkeypatch.setattr(trained, "load_timm", lambda name, _: load_network(tmp_path / name))
    for source in (
        [folder],
        [f"local-dir:{folder}"],
        ["timm:timm"],
        [folder / "model.safetensors", *arch],
        [tmp_path / "plain.pt", *arch],
        [tmp_path / "nested.pth", *arch],
    ):
        found = evaluated(*source, *data)
        assert found["scores"] == pytest.approx(expected), source
        assert found["network"] == str(source[0])


def test_a_file_is_normalised_as_its_architecture_unless_told(taught, evaluated, cohobate):
    given = (taught / "moved/model.safetensors", "model.arch=cifar_resnet8", "data.name=digits")
    own = timm.create_model("cifar_resnet8").pretrained_cfg
    told = [f"model.{key}={list(own[key])}" for key in ("mean", "std")]
    assert evaluated(*given)["scores"] == evaluated(*given, *told)["scores"]
    note = "does not tell how its images were made: 32 pixels, mean ["
    assert cohobate("evaluate", *given, *told).out.count(note) == 1
    assert note not in cohobate("evaluate", *given, *told, "data.size=32").out


def test_other_data_is_served_at_the_size_of_the_network(taught, evaluated, tmp_path):
    """The digits once more, as arrays of 64 pixels."""
    opened = trained.reopen(taught / "moved")
    for name in ("train", "test"):
        split = opened.split(name)
        images = split.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
        pixels, labels = images.permute(0, 2, 3, 1).numpy(), split.targets.numpy()
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=labels)
    found = evaluated(taught / "moved", "data.name=npz", f"data.root={tmp_path}")
    assert (found["size"], found["data"]) == (32, "npz")
    own = evaluated(taught / "moved")
    assert found["scores"]["top1"] == pytest.approx(own["scores"]["top1"], abs=0.05)
    assert evaluated(taught / "moved", "data.size=64", "data.name=digits")["size"] == 64


@pytest.mark.parametrize("crop", [1.15, 1.0, 0.5])
def test_photographs_are_cut_as_the_network_says(evaluated, tmp_path, crop):
    random = np.random.default_rng(0)
    for number in range(16):
        folder = tmp_path / "data" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((200, 160)).save(folder / f"{number}.png")
    net = Classifier("cifar_resnet8", 2).net
    facts = {"crop_pct": crop, "input_size": (3, 112, 112)}
    timm.models.save_for_hf(net, str(tmp_path / "net"), safe_serialization=True, data_config=facts)
    settings = ("data.name=folder", f"data.root={tmp_path / 'data'}", "precision=float32")
    given = (*settings, "data.workers=0", "--split", "train")
    found = evaluated(tmp_path / "net", *given)
    opened = trained.open_network(str(tmp_path / "net"), settings)
    batches = EvalLoader(opened.data.train, size=112, batch_size=100, share=min(crop, 1), workers=0)
    with torch.no_grad():
        (loss,) = (cross_entropy(opened.network.eval()(b.images), b.targets) for b in batches)
    assert found["scores"]["nll"] == pytest.approx(float(loss), rel=1e-5)


def test_fidelity_to_the_teacher_that_the_run_holds(taught, evaluated):
    found = evaluated(taught / "student")["teacher"]
    target, true = logits(taught / "moved")
    said, _ = logits(taught / "student")
    p, q = (each.double().softmax(1).numpy() for each in (target, said))
    assert found["agreement"] == pytest.approx(np.mean(p.argmax(1) == q.argmax(1)))
    assert found["kl"] == pytest.approx(np.mean(np.sum(p * np.log(p / q), 1)), rel=1e-4)
    assert found["teacher_top1"] == pytest.approx(np.mean(p.argmax(1) == true.numpy()))
    assert found["teacher"] == str(taught / "teacher")


def test_fidelity_to_another_teacher(taught, evaluated):
    named = evaluated(taught / "student", "--teacher", taught / "moved")["teacher"]
    own = evaluated(taught / "student")["teacher"]
    for name in ("agreement", "kl", "teacher_top1"):
        assert named[name] == pytest.approx(own[name])
    itself = evaluated(taught / "student", "--teacher", taught / "student")["teacher"]
    assert (itself["agreement"], itself["kl"]) == (1, pytest.approx(0, abs=1e-12))


def test_features_on_another_set(taught, cohobate, evaluated):
    found = evaluated(taught / "moved", "--on", "digits", "--shots", "1,2", "--draws", "2")["on"]
    ran = cohobate("transfer", "linear", taught / "moved", "data.name=digits")
    numbers = [word for word in ran.out.splitlines()[1].split() if word != "%"]
    scores = found["digits"]["scores"]
    assert [f"{100 * scores[name]:.2f}" for name in ("linear", "neighbours")] == numbers[-2:]
    assert [each["shots"] for each in found["digits"]["few"]] == [1, 2]
    for each in found["digits"]["few"]:
        assert {len(draws) for draws in each["top1"].values()} == {2}


def test_what_is_to_be_known_of_the_images_is_said_and_kept(taught, cohobate, tmp_path):
    for number in range(50):
        folder = tmp_path / "data" / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 5 * number).save(folder / f"{number}.png")
    data, on = ("data.name=folder", f"data.root={tmp_path}/data"), f"folder:{tmp_path}/data"
    options = ("--on", on, "--shots", "1", "--draws", "1", "--out", tmp_path / "out")
    ran = cohobate("evaluate", taught / "moved", *data, *options)
    assert ran.code == 0, ran.err
    notes = json.loads((tmp_path / "out" / "scores.json").read_text())["notes"]
    cut, doubt, other = notes
    assert "cut 20% of each class for test" in cut
    assert doubt.startswith("warning: these are not the test images that")
    assert other == f"--on {on}: {cut}"
    assert [line for line in ran.out.splitlines() if line in notes] == notes


def test_robustness_looks_at_some_of_the_images(taught, cohobate, tmp_path):
    kinds = "shift,occlusion,attacks"
    arguments = ("--robustness", kinds, "--images", 50, "--out", tmp_path / "out")
    ran = cohobate("evaluate", taught / "moved", *arguments)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["robustness"]
    assert found["images"] == 50
    assert list(found["tests"]) == kinds.split(",")
    for table in found["tests"].values():
        for top1 in table["top1"].values():
            assert len(top1) == len(table["levels"]) == 4
            assert [200 * each for each in top1] == pytest.approx(
                [round(200 * each) for each in top1], abs=1e-3
            )
    attack = found["tests"]["attacks"]["top1"]
    assert attack["fgsm"][-1] <= attack["fgsm"][0] <= found["clean"]
    assert f"top1 of 50 images: clean {100 * found['clean']:.2f} %" in ran.out


def test_a_published_set_of_corruptions(taught, evaluated, tmp_path):
    """The test set itself, five times: what a corruption that does nothing would be."""
    split = trained.reopen(taught / "moved").split("test")
    images = split.images.permute(0, 2, 3, 1).numpy()
    np.save(tmp_path / "labels.npy", np.tile(split.targets.numpy(), 5))
    black = np.zeros_like(images)
    np.save(tmp_path / "fog.npy", np.concatenate([images, images, black, black, 255 - images]))
    found = evaluated(taught / "moved", "--corrupted", tmp_path)
    assert found["robustness"] is None
    top1 = found["corrupted"]["top1"]["fog"]
    said, true = logits(taught / "moved")
    assert top1[:2] == pytest.approx([metrics.accuracy_score(true, said.argmax(1))] * 2)
    assert top1[2] == top1[3] <= 0.2
    assert len(top1) == 5


def test_another_set_is_told_apart(taught, evaluated, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3), dtype=np.uint8)
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(40) % 3)
    key = f"npz:{tmp_path}"
    found = evaluated(taught / "moved", "--ood", key)["ood"]
    split = build.load_data(
        config.parse({"data": {"name": "npz", "root": str(tmp_path), "size": 32, "val": 0}}, "")
    ).test
    network = load_network(taught / "moved").eval()
    with torch.no_grad():
        others = network(split.images.float() / 255)
    own, _ = logits(taught / "moved")
    labels = [1] * len(own) + [0] * 40
    both = torch.cat([own, others]).double()
    p = both.softmax(1)
    scores = {
        "max_softmax": p.amax(1),
        "energy": both.exp().sum(1).log(),
        "entropy": (p * p.log()).sum(1),
    }
    for name, score in scores.items():
        assert found[key][name]["auroc"] == pytest.approx(
            metrics.roc_auc_score(labels, score), abs=2e-4
        )
