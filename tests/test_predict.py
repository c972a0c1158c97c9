"""`cohobate predict`: each image gets the class that the run's own evaluation gives it."""

import csv
import io
import os
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cohobate import Classifier, build, config
from cohobate.data.loader import EVALUATED, EvalLoader
from cohobate.weights import load_network, save_network

NAMES = ["ant", 'a "bee", tame', "<script>"]


def picture(seed: int, width: int = 40, height: int = 40) -> np.ndarray:
    """Large blots of colour, which resizing does not average away."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def network(tmp_path):
    """A folder with a network alone, of three classes and 24 pixels, that tells images apart."""
    torch.manual_seed(0)
    model = Classifier("cifar_resnet8", 3, size=24)
    model.net.get_classifier().weight.data.mul_(20)
    folder = tmp_path / "network"
    folder.mkdir()
    save_network(folder, model, 24, NAMES)
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.jpg", "more/c.png")):
        Image.fromarray(picture(number)).save(folder / name)
    return folder


def read(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("size", [32, 100], ids=["in memory", "from files"])
def test_it_says_what_the_evaluation_of_the_run_sees(smoke, cohobate, tmp_path, size):
    for name in ("ant", "bee"):
        for part, count in (("train", 8), ("test", 5)):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(picture(i + count * (name == "bee"), 150, 130))
                image.save(tmp_path / "data" / part / name / f"{i}.png")
    run = tmp_path / "run"
    ran = smoke(
        run,
        *("data.name=folder", f"data.root={tmp_path / 'data'}", f"data.size={size}"),
        *("data.batch_size=12", "data.workers=0", "precision=float32"),
    )
    assert ran.code == 0, ran.err
    given = (tmp_path / "data/test", "eval.batch_size=3", "data.workers=1", "--top", 2)
    assert cohobate("predict", run, *given, "--out", tmp_path / "p.csv").code == 0
    found = read(tmp_path / "p.csv")
    data = build.load_data(config.load(run / "config.toml"))
    assert isinstance(data.test.images, torch.Tensor) == (size == 32)
    model = load_network(run).eval()
    (batch,) = EvalLoader(data.test, size=size, batch_size=10, workers=0)
    for row, p in zip(found, model(batch.images).softmax(1).tolist()):
        said = {row["class"]: row["probability"], row["class_2"]: row["probability_2"]}
        assert float(said["ant"]) == pytest.approx(p[0], abs=1e-5)
        assert float(said["bee"]) == pytest.approx(p[1], abs=1e-5)
        assert float(row["probability"]) >= float(row["probability_2"])
    right = sum(row["file"].split(os.sep)[-2] == row["class"] for row in found)
    assert re.search(rf"top1 +{10 * right:.2f} %", cohobate("evaluate", run).out)


def test_files_and_folders_each_file_once_in_their_order(network, photos, cohobate, tmp_path):
    (photos / ".trash").mkdir()
    Image.fromarray(picture(3)).save(photos / ".trash" / "d.png")
    (photos / "notes.txt").write_text("no image")
    given = (photos / "more/c.png", photos, photos / "a.jpg")
    ran = cohobate("predict", network, *given, "--out", tmp_path / "new" / "p.csv", "--top", 3)
    assert ran.code == 0, ran.err
    found = read(tmp_path / "new" / "p.csv")
    expected = [str(photos / name) for name in ("more/c.png", "a.jpg", "b.png")]
    assert [row["file"] for row in found] == expected
    for row in found:
        assert {row["class"], row["class_2"], row["class_3"]} == {*NAMES}
        shares = [float(row[f"probability{rank}"]) for rank in ("", "_2", "_3")]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_without_a_file_to_write_a_table_is_printed(network, photos, cohobate):
    lines = cohobate("predict", network, photos / "a.jpg").out.splitlines()
    assert lines[1].split() == ["file", "class", "probability"]
    assert lines[2].startswith(str(photos / "a.jpg"))
    assert any(name in lines[2] for name in NAMES)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(network, photos, cohobate, tmp_path):
    whole = (photos / "b.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "notes.txt").write_text("no image")
    (photos / "gone.png").symlink_to(photos / "nothing")
    ran = cohobate(
        "predict", network, photos, photos / "notes.txt", "nowhere.png",
        "--out", tmp_path / "p.csv", "eval.batch_size=2",
    )  # fmt: skip
    assert ran.code == 1
    assert len(read(tmp_path / "p.csv")) == 3
    *named, count = ran.err.splitlines()
    bad = ("cut.png", "gone.png", "notes.txt", "nowhere.png")
    assert [name for name in bad if name not in ran.err] == []
    assert "image nowhere.png cannot be read: No such file or directory" in ran.err
    assert len(named) == 4
    assert count == "cohobate: 4 of 7 files cannot be read"


def test_every_kind_of_image_is_seen_as_training_sees_it(network, cohobate, tmp_path):
    upright = picture(0, 60, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn it a quarter to the right to show it"
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    grey = upright[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    see_through = np.dstack([upright, np.zeros_like(grey)])
    Image.fromarray(see_through).save(tmp_path / "see_through.png")
    Image.new("RGB", (60, 40), "white").save(tmp_path / "white.png")
    ran = cohobate("predict", network, tmp_path, "--top", 3, "--out", tmp_path / "p.csv")
    assert ran.code == 0, ran.err
    said = {os.path.basename(row.pop("file")): row for row in read(tmp_path / "p.csv")}
    assert said["turned.png"] == said["upright.png"]
    assert said["deep.png"] == said["grey.png"]
    assert said["see_through.png"] == said["white.png"]
    assert said["upright.png"] != said["grey.png"] != said["white.png"]


def test_a_checkpoint_of_timm_alone(photos, cohobate, tmp_path):
    """Its classes have no names, and it looks at the share of the image that its config says."""
    net = timm.create_model("resnet10t", num_classes=4).eval()
    facts = {"input_size": (3, 64, 64), "crop_pct": EVALUATED, "mean": [0.5] * 3, "std": [0.2] * 3}
    timm.models.save_for_hf(
        net, str(tmp_path / "checkpoint"), data_config=facts, safe_serialization=True
    )
    Image.fromarray(picture(5, 90, 80)).save(tmp_path / "one.png")
    ran = cohobate("predict", tmp_path / "checkpoint", tmp_path / "one.png", "--out", "p.csv")
    assert ran.code == 0, ran.err
    side = EVALUATED * 80
    box = (45 - side / 2, 40 - side / 2, 45 + side / 2, 40 + side / 2)
    view = Image.open(tmp_path / "one.png").resize((64, 64), Image.Resampling.BILINEAR, box)
    pixels = (torch.from_numpy(np.array(view)).permute(2, 0, 1)[None] / 255 - 0.5) / 0.2
    with torch.no_grad():
        p = net(pixels).softmax(1)[0]
    (row,) = read(tmp_path / "p.csv")
    assert row["class"] == str(int(p.argmax()))
    assert float(row["probability"]) == pytest.approx(float(p.max()), abs=0.01)  # bf16, perhaps


def test_a_file_name_that_is_no_text(network, photos, cohobate, tmp_path):
    name = os.fsencode(photos) + b"/\xff.png"
    with open(name, "wb") as file:
        Image.fromarray(picture(1)).save(file, "png")
    assert cohobate("predict", network, photos).code == 0
    assert cohobate("predict", network, photos, "--out", tmp_path / "p.csv").code == 0
    assert name in (tmp_path / "p.csv").read_bytes()
    rows = csv.reader(io.StringIO((tmp_path / "p.csv").read_text(errors="surrogateescape")))
    assert os.fsdecode(name) in [row[0] for row in rows]


MISTAKES = {
    "no network": (["{empty}", "{photos}"], "holds no trained network"),
    "no file": (["{network}", "nowhere.png"], "there is no file or folder nowhere.png"),
    "no images": (["{network}", "{empty}"], "holds no images (.bmp, "),
    "nothing": (["{network}", "eval.batch_size=2"], "which images?"),
    "too many": (["{network}", "{photos}", "--top", "4"], "--top 4: the network in"),
    "setting": (["{network}", "{photos}", "data.size=3"], "predict takes no setting data.size"),
    "type": (["{network}", "{photos}", "eval.batch_size=a"], "eval.batch_size=a: input should"),
    "folder": (["{network}", "{photos}", "--out", "{empty}"], "is a folder: name a file in it"),
    "a picture": (["{network}", "{photos}", "--out", "{photos}/a.jpg"], "ends in .csv"),
    "below a file": (["{network}", "{photos}", "--out", "{photos}/a.jpg/p"], "cannot be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake(network, photos, cohobate, tmp_path, mistake):
    given, words = MISTAKES[mistake]
    (tmp_path / "empty").mkdir()
    places = {"network": network, "photos": photos, "empty": tmp_path / "empty"}
    ran = cohobate("predict", *(text.format(**places) for text in given))
    assert ran.code == 2
    assert ran.err.startswith("cohobate: ")
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1


def test_names_that_do_not_fit_the_network(network, photos, cohobate):
    facts = (network / "config.json").read_text().replace('"<script>"', '"a", "b"')
    (network / "config.json").write_text(facts)
    ran = cohobate("predict", network, photos)
    assert ran.code == 2
    assert "names 4 classes, and the network beside it knows 3" in ran.err
