"""`cohobate export`: the file says what the network says, and its card is true."""

import json
import re
import shutil
import sys
from math import isnan

import pytest
import timm
import torch
from huggingface_hub import ModelCard

from cohobate import Classifier, fast
from cohobate import export as program
from cohobate.analysis.runs import Run
from cohobate.card import row as row_of
from cohobate.weights import load_network, save_network
from test_readme import blocks

FEW = ("data.per_class=8", "data.batch_size=40")
VIT = ("model.arch=vit_tiny_patch16_224", "model.patch_size=8", "model.depth=2")
NAMES = ["ant", "a|b *c*", "<script>alert(1)</script>"]


@pytest.fixture
def run(smoke, tmp_path):
    """Trains a network for an epoch on a few images, and returns its folder."""

    def train(*settings, name="run"):
        ran = smoke(tmp_path / name, *FEW, "precision=float32", *settings)
        assert ran.code == 0, ran.err
        return tmp_path / name

    return train


def opened(file, form):
    """What a file makes of images, without cohobate."""
    if form == "torch-export":
        return torch.export.load(file).module()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, settings",
    [
        ("onnx", ()),
        ("onnx", VIT),
        ("onnx", ("model.arch=resnet10t",)),
        ("torch-export", ()),
        ("torch-export", VIT),
    ],
)
def test_the_file_says_what_timm_says_of_normalised_images(run, cohobate, tmp_path, form, settings):
    folder, out = run(*settings), tmp_path / "out"
    ran = cohobate("export", folder, "--format", form, "--out", out)
    assert ran.code == 0, ran.err
    name = {"onnx": "model.onnx", "torch-export": "model.pt2"}[form]
    assert {path.name for path in out.iterdir()} == {
        name,
        *("README.md", "config.json", "model.safetensors"),
    }
    told = float(re.search(r"differ from PyTorch's by (\S+) at most", ran.out)[1])
    net = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    says = opened(out / name, form)
    for count in (1, 3, 8):
        images = torch.rand(count, 3, 32, 32)
        with torch.no_grad():
            expected = net((images - mean) / std)
        assert says(images).shape == (count, 10)
        torch.testing.assert_close(says(images), expected, rtol=1e-4, atol=1e-4)
    assert told < 1e-3


@pytest.mark.slow
def test_a_fixed_number_of_images_and_a_file_of_ones_own(run, cohobate, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    given = ("--format", "onnx", "--batch", 4, "--out", tmp_path / "mine" / "small.onnx")
    ran = cohobate("export", run(), *given)
    assert ran.code == 0, ran.err
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"small.onnx", "small.md"}
    session = ort.InferenceSession(tmp_path / "mine/small.onnx")
    assert session.get_inputs()[0].shape == [4, 3, 32, 32]
    assert "float32 (4, 3, 32, 32)" in (tmp_path / "mine/small.md").read_text()


def test_weights_that_no_onnx_file_holds_lie_beside_it(run, monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(program, "PROTOBUF", 1000)
    done = program.export(run(), "onnx", tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 300_000
    assert done.difference <= done.allowed


def test_the_code_in_the_card_runs(run, cohobate, tmp_path, monkeypatch):
    run()
    monkeypatch.chdir(tmp_path)
    assert cohobate("export", "run", "--format", "torch-export").code == 0
    text = (tmp_path / "run/torch-export/README.md").read_text()
    space = {"images": torch.rand(2, 3, 32, 32)}
    for block in blocks(text, "python"):
        exec(block, space)
        if "timm" in block:
            assert type(space["network"].get_classifier()) is torch.nn.Linear
    assert space["logits"].shape == (2, 10)


def test_the_card_says_how_the_network_was_made_and_what_it_scores(run, cohobate):
    folder = run("method.name=label_smoothing", "method.smoothing=0.2")
    config = json.loads((folder / "config.json").read_text())
    config["label_names"] = NAMES + [str(number) for number in range(7)]
    (folder / "config.json").write_text(json.dumps(config))
    ran = cohobate("export", folder, "--format", "torch-export")
    assert ran.code == 0, ran.err
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    card = ModelCard.load(folder / "torch-export" / "README.md")
    assert card.data.library_name == "timm"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_value) == ("digits", last["test/top1"])
    assert f"{100 * last['test/top1']:.2f} %" in card.text
    assert "smoothing = 0.2" in card.text
    assert json.loads((folder / "environment.json").read_text())["command"] in card.text
    assert "https://" in card.text.partition("\n> ")[2].partition("\n")[0]
    assert "ant, a\\|b \\*c\\*, &lt;script&gt;" in card.text
    again = cohobate("export", folder, "--format", "torch-export")
    assert again.code == 0, "our own card is written anew"


def test_the_card_holds_the_row_of_a_comparison(run, cohobate, tmp_path):
    for method in ("supervised", "label_smoothing"):
        for seed in (0, 1):
            name = f"elsewhere/{method}/seed{seed}"
            run(f"method.name={method}", f"seed={seed}", name=name)
    folders = sorted((tmp_path / "elsewhere").glob("*/*"))
    assert cohobate("compare", *folders, "--out", tmp_path / "study").code == 0
    mine = tmp_path / "elsewhere/label_smoothing/seed1"
    ran = cohobate("export", mine, "--format", "torch-export", "--table", tmp_path / "study")
    assert ran.code == 0, ran.err
    lines = (tmp_path / "study/comparison.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| label"))
    card = (mine / "torch-export" / "README.md").read_text()
    assert "±" in row
    cells = [cell for cell in row.split(" | ") if "±" in cell or "%" in cell]
    assert cells
    assert [cell for cell in cells if cell not in card] == []
    assert (
        "and those of 1 other seed. This one is of seed 1. The difference is to supervised, in points."
        in card
    )
    copy = shutil.copytree(mine, tmp_path / "copy")
    assert row_of(Run.read(copy), tmp_path / "study") == row_of(Run.read(mine), tmp_path / "study")
    other = run("method.name=label_smoothing", "seed=2", name="other")
    given = ("--format", "torch-export", "--table")
    ran = cohobate("export", other, *given, tmp_path / "study")
    assert ran.code == 2
    assert "compares other runs" in ran.err
    assert "holds no runs" in cohobate("export", mine, *given, other).err
    shutil.rmtree(folders[0])
    assert (
        f"compares {folders[0]}, which is not"
        in cohobate("export", mine, *given, tmp_path / "study").err
    )


def test_a_network_made_ready_for_speed_is_exported_as_it_is():
    network = Classifier("cifar_resnet8", 5).eval()
    expected = load_state(network)
    fast.prepare(network)
    graph = program.trace(network, None).module()
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(graph(images), expected(images), rtol=1e-4, atol=1e-5)
    assert next(network.parameters()).is_contiguous(memory_format=torch.channels_last)


def load_state(network: Classifier) -> Classifier:
    """The same weights in a network of its own."""
    twin = Classifier("cifar_resnet8", 5).eval()
    twin.load_state_dict(network.state_dict())
    return twin


def test_a_file_that_says_something_else_is_not_written(run, cohobate, monkeypatch, tmp_path):
    folder, right = run(), program.trace

    def wrong(network, batch):
        with torch.no_grad():
            network.net.get_classifier().bias.add_(0.01)
        graph = right(network, batch)
        with torch.no_grad():
            network.net.get_classifier().bias.sub_(0.01)
        return graph

    monkeypatch.setattr(program, "trace", wrong)
    ran = cohobate("export", folder, "--format", "torch-export", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "says other logits than PyTorch: they differ by 1.0e-02" in ran.err
    assert [*(tmp_path / "out").iterdir()] == []


@pytest.mark.parametrize("lost", [0, 1])
def test_no_number_in_any_output_is_farther_than_allowed(lost):
    class Two:
        size = 4

        def __call__(self, images):
            return [images, 2 * images]

    def other(images):
        answers = [1.5 * images, 2 * images]
        answers[lost] = answers[lost] * float("nan")
        return answers

    difference, _ = program.compare(Two(), other, [2])
    assert isnan(difference)


def test_what_is_not_installed_is_said_with_what_installs_it(run, cohobate, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ran = cohobate("export", run(), "--format", "onnx")
    assert ran.code == 2
    assert ran.err == (
        "cohobate: --format onnx needs the package onnxruntime, which is not installed:"
        " pip install 'cohobate[onnx]'\n"
    )


@pytest.mark.parametrize("part", ["export", "save", "load"])
def test_a_network_that_cannot_be_exported(run, cohobate, monkeypatch, part):
    def fail(*_, **__):
        raise RuntimeError("batch was specialised\nto 2")

    folder = run()
    monkeypatch.setattr(f"torch.export.{part}", fail)
    ran = cohobate("export", folder, "--format", "torch-export")
    assert ran.code == 2
    assert (
        "cannot be exported for any number of images: batch was specialised; --batch 1" in ran.err
    )


def test_mistakes(run, cohobate, tmp_path):
    folder = run()
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "README.md").write_text("mine")
    short = tmp_path / "short"
    shutil.copytree(folder, short)
    (short / "metrics.jsonl").write_text("")
    alone = tmp_path / "alone"
    alone.mkdir()
    save_network(alone, load_network(folder), 32, NAMES)
    for given, words in (
        ((folder, "--format", "onyx"), "unknown --format 'onyx': did you mean 'onnx'"),
        ((tmp_path / "no", "--format", "onnx"), "there is no folder"),
        ((alone, "--format", "onnx"), "is not a run folder"),
        ((short, "--format", "onnx"), "0 of 1 epochs"),
        ((folder, "--format", "onnx", "--out", "a.pt2"), "--format onnx ends in .onnx"),
        ((folder, "--format", "onnx", "--out", tmp_path / "taken"), "README.md is there and was"),
        ((folder, "--format", "onnx", "--out", other), f"--out {other} holds other files"),
        ((folder, "--format", "onnx", "--out", folder / "config.toml"), "cannot be written"),
    ):
        ran = cohobate("export", *given)
        assert ran.code == 2
        assert words in ran.err
        assert len(ran.err.splitlines()) == 1
    assert (tmp_path / "taken" / "README.md").read_text() == "mine"
    assert (other / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
