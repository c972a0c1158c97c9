"""`cohobate compare --transfer`: networks put to other tasks, each once, and all in one table."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from places import SMOKE

FEW = ("data.name=digits", "data.per_class=8", "optim.epochs=3")


@pytest.fixture
def networks(taught, tmp_path) -> tuple[Path, Path]:
    """Runs of two methods: `supervised`, and `kd`."""
    for name in ("moved", "student"):
        shutil.copytree(taught / name, tmp_path / name)
    return Path("moved"), Path("student")


def transfer(task, *settings):
    return "--transfer", " ".join([task, *settings])


def test_what_is_missing_is_trained_and_what_is_there_stays(
    cohobate, networks, few_shapes, tmp_path
):
    pixels = tmp_path / "pixels.toml"
    pixels.write_text(
        'task = "segmentation"\nmodel = {decoder = "upernet", width = 32}\ncompile = false\n'
        "data = {name = 'shapes', size = 32, batch_size = 8, workers = 0}\noptim = {epochs = 1}\n"
    )
    wanted = (*transfer("linear", *FEW), *transfer("pixels.toml", f"data.root='{few_shapes}'"))
    ran = cohobate("compare", *networks, *wanted, "--out", "table")
    assert ran.code == 0, ran.err
    assert "digits linear top-1 (%)" in ran.out
    assert "shapes mIoU (%)" in ran.out
    table = json.loads(Path("table/transfer.json").read_text())
    assert table["warnings"] == []
    scores = {(row["method"], row["task"]): row["score"] for row in table["rows"]}
    assert {name for name, _ in scores} == {"supervised", "kd"}
    last = Path("student/transfer/pixels/seed0/metrics.jsonl").read_text().splitlines()[-1]
    assert scores["kd", "pixels"] == json.loads(last)["test/miou"]
    alone = cohobate("transfer", "linear", "student", *FEW)
    assert f"{100 * scores['kd', 'linear-digits-epochs=3-per_class=8']:.2f} %" in alone.out
    assert 'id="transfer"' in Path("table/report.html").read_text()

    shutil.rmtree("student/transfer/pixels")
    ran = cohobate("compare", *networks, *wanted, "--out", "table", "--no-train")
    assert ran.code == 0, ran.err
    assert "warning: pixels has no score of kd (seed 0)" in ran.out
    again = json.loads(Path("table/transfer.json").read_text())
    assert {(row["method"], row["task"]): row["score"] for row in again["rows"]} == {
        **scores,
        ("kd", "pixels"): None,
    }

    Path("student/model.safetensors").unlink()
    ran = cohobate("compare", *networks, *wanted, "--out", "table")
    assert ran.code == 1, ran.err
    assert "student/transfer/pixels/seed0: left out: student holds no trained network" in ran.out
    assert "moved/transfer" not in ran.out, "what is done is not done again"


MISTAKES = {
    "task": (transfer("segmentatio"), "did you mean 'segmentation'"),
    "nothing": (("--transfer", ""), "unknown task of --transfer ''"),
    "no file": (transfer("pixels.toml"), "there is no run file pixels.toml"),
    "no data": (transfer("segmentation"), "needs a data set"),
    "setting": (transfer("linear", *FEW, "method.name=kd"), "takes no method.name"),
    "twice": (2 * transfer("linear", *FEW), "two of --transfer are called linear-digits-epochs=3"),
    "quotation": (
        transfer("linear", "data.root='a"),
        "--transfer linear data.root='a: a quotation",
    ),
    "batch": (
        transfer("segmentation", "data.name=shapes", "data.fraction=0.05"),
        "data.batch_size=16 is larger than the 7 training images",
    ),
    "no classifier": (
        (
            "task=segmentation",
            "data.name=shapes",
            "model.arch=resnet10t",
            *transfer("linear", *FEW),
        ),
        "is a run of task=segmentation",
    ),
    "data": (transfer("linear", "data.name=npz", "data.root=nowhere"), "nowhere"),
    "masks": (transfer("segmentation", "data.name=folder", "data.root=nowhere"), "nowhere"),
    "decoder": (
        transfer("segmentation", "data.name=shapes", "model.decoder=fpn"),
        'model.decoder="fpn" needs four stages',
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_anything_is_trained(cohobate, mistake):
    given, sentence = MISTAKES[mistake]
    ran = cohobate("compare", SMOKE, *given, "--out", "table")
    assert ran.code == 2, ran.out
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    assert not Path("table").exists()


def test_data_in_folders_is_told_apart_by_their_names(cohobate, networks):
    random = np.random.default_rng(0)
    for name in ("bright", "dark"):
        Path(name).mkdir()
        for split, count in (("train", 40), ("test", 20)):
            labels = np.arange(count) % 2
            images = random.integers(0, 99 if name == "dark" else 255, (count, 32, 32, 3))
            images = (images + 99 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8)
            np.savez(f"{name}/{split}.npz", images=images, labels=labels)
    both = [transfer("linear", "data.name=npz", f"data.root={name}") for name in ("bright", "dark")]
    ran = cohobate("compare", networks[0], *both[0], *both[1], "--out", "table")
    assert ran.code == 0, ran.err
    assert "bright linear top-1 (%)" in ran.out
    assert "dark linear top-1 (%)" in ran.out
    kept = [f"moved/transfer/linear-{name}/seed0/outcomes.json" for name in ("bright", "dark")]
    first, second = (json.loads(Path(file).read_text()) for file in kept)
    assert first != second, "each scored on its own images"
