"""What comes after the training of masks: scored, compared, analysed, predicted and exported."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate import config, planning, study
from cohobate.analysis.masks import colours
from cohobate.core import VOID
from cohobate.data.shapes import made
from cohobate.display import Silent
from cohobate.outcomes import Overlaps
from cohobate.scores import by_name
from cohobate.weights import load_network
from places import SMOKE

RUN = SMOKE.parent / "segmentation.toml"
FAST = (
    *("data.workers=0", "data.size=48", "data.batch_size=8", "compile=false"),
    *("optim.epochs=1", "model.arch=test_resnet", "model.width=64"),
)
IMAGES = 12
"""To test on."""
KINDS = ("background", "disc", "square", "triangle")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with the shapes and with two seeds each of two methods, as `compare` leaves them.

    Of the last image to test on, all is void.
    """
    home = tmp_path_factory.mktemp("masks")
    for part, count in (("train", 18), ("test", IMAGES)):
        listed = made(home / "shapes") / f"{part}.txt"
        names = listed.read_text().splitlines()[:count]
        listed.write_text("\n".join(names) + "\n")
    nothing = np.full((64, 64), VOID, dtype=np.uint8)
    Image.fromarray(nothing).save(home / "shapes" / "masks" / f"{names[-1]}.png")
    settings = [*FAST, f"data.root={home / 'shapes'}"]
    planned = planning.plan([RUN], settings, {"method.name": ["supervised", "label_smoothing"]}, 2)
    _, told = study.carry_out(planned, home / "out" / "runs", Silent())
    assert not told
    return home


@pytest.fixture()
def run(home) -> Path:
    return home / "out" / "runs" / "supervised" / "seed0"


def row(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def test_scores_name_their_classes_and_what_is_kept_of_images_gives_them_again(run):
    last = row(run)
    kept = Overlaps.of(json.loads((run / "outcomes.json").read_text()))
    assert kept.counts.shape == (IMAGES, 2, 4)
    common, either = kept.counts.sum(0)
    for number, kind in enumerate(KINDS):
        if either[number]:
            assert last[f"test/iou/{kind}"] == pytest.approx(common[number] / either[number])
    assert kept.score == pytest.approx(last["test/miou"], abs=1e-6)


def test_odd_names_stay_apart():
    names = ["a/b", "a_b", "", "traffic light", "x_1", "ünï\n"]
    found = by_name({"miou": 0.5, **{f"iou/{k}": 0.1 * k for k in range(6)}}, names)
    assert list(found) == [
        *("miou", "iou/a_b_0", "iou/a_b_1", "iou/_2"),
        *("iou/traffic light", "iou/x_1_4", "iou/ünï_"),
    ]


def test_evaluate_takes_flips_scales_and_windows(run, cohobate):
    ran = cohobate("evaluate", run, "--out", "plain")
    assert ran.code == 0, ran.err
    plain = json.loads(Path("plain/scores.json").read_text())["scores"]
    assert plain["miou"] == pytest.approx(row(run)["test/miou"], abs=1e-3)
    assert "iou/disc" in ran.out
    settings = ["eval.flip=true", "eval.scales=[0.75]", "eval.window=32", "eval.stride=16"]
    ran = cohobate("evaluate", run, *settings, "--out", "other")
    assert ran.code == 0, ran.err
    other = json.loads(Path("other/scores.json").read_text())["scores"]
    assert other["miou"] != plain["miou"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["eval.stride=40"], "set eval.window"),
        (["eval.window=32", "eval.stride=40"], "set eval.window"),
        (["eval.window=3"], "eval.window=3: input should be greater than or equal to 8"),
        (["eval.scales=[]"], "eval.scales=[]"),
        (["eval.scales=[0]"], "eval.scales[0]=0"),
        (["eval.scales=2"], "such as '[0.75, 1, 1.25]'"),
    ],
)
def test_settings_that_make_no_sense(run, cohobate, settings, sentence):
    ran = cohobate("evaluate", run, *settings)
    assert ran.code == 2
    assert sentence in ran.err and "Traceback" not in ran.err


def test_they_are_refused_for_classes(smoke):
    ran = smoke("run", "eval.flip=true")
    assert ran.code == 2
    assert "eval.flip is for task=segmentation" in ran.err


def test_compare_tells_miou_with_an_interval_over_images(home, cohobate):
    runs = sorted((home / "out" / "runs").glob("*/*"))
    ran = cohobate("compare", *runs, "--out", "out")
    assert ran.code == 0, ran.err
    assert "mIoU (%)" in ran.out and "top-1" not in ran.out
    table = json.loads(Path("out/comparison.json").read_text())["rows"]
    scores = {method: [] for method in ("supervised", "label_smoothing")}
    for each in runs:
        scores[each.parent.name].append(row(each)["test/miou"])
    for line in table:
        own = scores[line["label"]]
        assert line["miou"] == pytest.approx(np.mean(own))
        assert line["miou_sd"] == pytest.approx(np.std(own, ddof=1))
    assert table[1]["low"] < table[1]["difference"] < table[1]["high"]
    page = Path("out/report.html").read_text()
    assert "test mIoU (%)" in page and "top-1" not in page


def test_runs_of_two_tasks_are_not_compared(run, cohobate, tmp_path):
    shutil.copytree(run, tmp_path / "digits")
    Path("digits/outcomes.json").unlink()
    for name, old, new in (
        ("config.toml", 'task = "segmentation"', 'task = "classification"'),
        ("metrics.jsonl", "test/miou", "test/top1"),
    ):
        text = Path("digits", name).read_text()
        Path("digits", name).write_text(text.replace(old, new))
    for command in ("compare", "analyse"):
        ran = cohobate(command, run, "digits")
        assert ran.code == 2
        assert "of task=segmentation, and digits of task=classification" in ran.err


def test_analyse_pictures_the_worst_and_the_best(home, run, cohobate):
    other = home / "out" / "runs" / "label_smoothing" / "seed0"
    ran = cohobate("analyse", run, other, "--out", "out")
    assert ran.code == 0, ran.err
    numbers = json.loads(Path("out/numbers.json").read_text())
    first = numbers["seen"][0]
    assert first["scores"]["miou"] == pytest.approx(row(run)["test/miou"], abs=1e-3)
    kept = Overlaps.of(json.loads((run / "outcomes.json").read_text())).counts
    with np.errstate(invalid="ignore"):
        each = np.nanmean(kept[:-1, 0] / kept[:-1, 1], 1)
    assert first["marks"][:-1] == pytest.approx(each, abs=0.02)
    assert [seen["marks"].pop() for seen in numbers["seen"]] == [None] * 2  # of void alone
    assert [one["kind"] for one in numbers["pictured"]] == ["worst"] * 2 + ["median"] * 2 + [
        "best"
    ] * 2
    means = np.mean([seen["marks"] for seen in numbers["seen"]], 0)
    shown = [np.mean([said["mark"] for said in one["answers"]]) for one in numbers["pictured"]]
    assert shown[:2] == pytest.approx(sorted(means)[:2])
    assert shown[-2:] == pytest.approx(sorted(means)[-2:])
    page = Path("out/report.html").read_text()
    assert page.count('alt="what of it is wrong"') == 12
    assert all(colour in page for colour in colours(4))
    assert "learning-curves" in page and "iou/triangle" in page
    assert Path("out/figures/pictures.png").is_file()
    ran = cohobate("analyse", run, "--only", "calibration")
    assert (
        ran.code == 2 and "of task=segmentation there are comparison, curves, pictures" in ran.err
    )


def test_predict_writes_a_mask_and_the_shares(home, run, cohobate, tmp_path):
    files = sorted((home / "shapes" / "images").glob("test00*"))[:3]
    twin = tmp_path / "twin" / files[0].name
    twin.parent.mkdir()
    shutil.copy(files[1], twin)
    (tmp_path / "bad.png").write_text("no image")
    ran = cohobate("predict", run, *files, twin, "bad.png", "--out", "masks")
    assert ran.code == 1
    assert "bad.png cannot be read" in ran.err and "1 of 5 files" in ran.err
    lines = list(csv.reader(Path("masks/shares.csv").read_text().splitlines()))
    assert lines[0] == ["file", "picture", *KINDS]
    assert [line[0] for line in lines[1:]] == [*map(str, files), str(twin)]
    assert lines[4][1] == f"{twin.stem}-2.png"
    network = load_network(run).eval()
    for line in lines[1:]:
        mask = Image.open(Path("masks", line[1]))
        palette = mask.getpalette() or []
        assert mask.mode == "P" and bytes(palette[3:6]).hex().upper() == colours(4)[1][1:]
        numbers = np.array(mask)
        shares = [np.mean(numbers == kind) for kind in range(4)]
        assert [float(cell) for cell in line[2:]] == pytest.approx(shares, abs=1e-6)
    image = torch.from_numpy(np.array(Image.open(files[0]))).movedim(-1, 0)[None] / 255
    small = torch.nn.functional.interpolate(image, (48, 48), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(network(small), (64, 64), mode="bilinear")
    said = np.array(Image.open(Path("masks", lines[1][1])))
    assert np.mean(said == logits.argmax(1)[0].numpy()) > 0.97
    ran = cohobate("predict", run, *files, "--out", "shares.csv")
    assert ran.code == 0, ran.err
    alone = list(csv.reader(Path("shares.csv").read_text().splitlines()))
    assert alone == [[line[0], *line[2:]] for line in lines[:4]]
    printed = cohobate("predict", run, files[0])
    assert alone[1][1] in printed.out and not list(Path().glob("test*.png"))
    Path("folder.csv").mkdir()
    for given, sentence in (
        ([Path("nowhere.png")], "there is no file or folder nowhere.png"),
        ([files[0], "--out", "folder.csv"], "--out folder.csv is a folder"),
        ([files[0], "--out", "x", "--top", "2"], "leave --top away"),
        ([files[0], "--out", files[0].parent], "is one of the images"),
        ([files[0], "optim.lr=1", "--out", "x"], "eval.window"),
    ):
        ran = cohobate("predict", run, *given)
        assert ran.code == 2, given
        assert sentence in ran.err and "Traceback" not in ran.err


def test_a_run_file_is_resolved_with_what_it_shows():
    loaded = config.load(RUN, ["eval.scales=[0.5, 1]", "eval.flip=true"])
    assert config.parse(config.read(RUN), "run").eval.flip is None
    assert "scales = [\n    0.5,\n    1.0,\n]" in loaded.toml()
