"""`cohobate bench`: a row for each method, on the screen and as JSON."""

import json
import runpy
from functools import partial

import pytest

from cohobate import bench, stopwatch
from places import ROOT

FIELDS = {
    "method",
    "images_per_second",
    "vs_supervised",
    "vs_eager_float32",
    "peak_memory_bytes",
    "eager_peak_memory_bytes",
    "data_wait",
    "mfu",
}
SMALL = ("--model", "cifar_resnet8", "--batch-size", 4, "--size", 16, "--classes", 5)


@pytest.fixture
def here(monkeypatch):
    """Measures in this process, and only for a moment."""
    monkeypatch.setattr(bench, "_alone", lambda job, case: job(case))
    monkeypatch.setattr(bench, "rates", partial(stopwatch.rates, seconds=0.01, repeats=2))


@pytest.mark.usefixtures("here")
def test_every_method_has_a_row(cohobate, tmp_path):
    file = tmp_path / "rows.json"
    ran = cohobate("bench", *SMALL, "--methods", "mixskd,hsakd", "--json", file)
    assert ran.code == 0, ran.err
    first, _, heading, *lines = ran.out.splitlines()
    assert first.startswith("cifar_resnet8, batches of 4 at 16 pixels, 5 classes; ")
    assert heading.split("  ")[0] == "method"
    rows = json.loads(file.read_text())
    names = ["supervised", "mixskd", "hsakd"]
    assert [row["method"] for row in rows] == [line.split()[0] for line in lines] == names
    assert all({*row} == FIELDS for row in rows)
    assert rows[0]["vs_supervised"] == 1
    for row in rows:
        assert row["images_per_second"] > 0 and row["vs_eager_float32"] > 0
        assert 0 < row["data_wait"] < 1 and 0 < row["mfu"] < 1
    assert rows[1]["vs_supervised"] < 1


def test_other_tasks_are_timed_by_the_same_loop(tmp_path):
    """A detector with its teacher: both sides take steps, and nothing is waited for."""
    shape = {"model": "cifar_resnet8", "batch_size": 2, "classes": 3, "task": "detection"}
    case = stopwatch.Case(method="detection_kd", **shape)
    fabric = stopwatch.machine().launch()
    ours = stopwatch.Ours(case, fabric, str(tmp_path))
    ours.step()
    stopwatch.Reference(case, fabric).step()
    assert ours.training.step == 1
    with pytest.raises(
        ValueError, match="'kd' is for classification and segmentation, and this is"
    ):
        stopwatch.build_method(stopwatch.Case(method="kd", **shape))


@pytest.mark.usefixtures("here")
def test_what_a_network_does_not_allow_is_said_below_the_table(cohobate):
    size = ("--batch-size", 4, "--size", 32, "--classes", 5)
    ran = cohobate("bench", "--model", "vit_tiny_patch16_224", *size, "--methods", "frskd")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1].startswith("frskd: model 'vit_tiny_patch16_224' has stages of")


@pytest.mark.parametrize(
    "given, sentence",
    [
        (("--methods", "mixsdk"), "unknown method 'mixsdk': did you mean 'mixskd'?"),
        (("--model", "resnet0"), "unknown model 'resnet0'"),
        (("--json", "nowhere/rows.json"), "--json nowhere/rows.json: there is no folder nowhere"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_mistake_is_one_sentence(cohobate, given, sentence):
    ran = cohobate("bench", *SMALL, *given)
    assert ran.code == 2
    assert sentence in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.slow
def test_memory_is_that_of_a_process_alone(cohobate, tmp_path):
    file = tmp_path / "rows.json"
    ran = cohobate("bench", *SMALL, "--methods", "supervised", "--batch-size", 64, "--json", file)
    assert ran.code == 0, ran.err
    (row,) = json.loads(file.read_text())
    kept = 4 * 64 * 10 * 16 * 16 * 16  # ten maps of the first stage alone, in float32
    assert row["eager_peak_memory_bytes"] > kept
    assert row["peak_memory_bytes"] > kept / 2


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name
)
def test_programs_can_be_loaded(path):
    assert "main" in runpy.run_path(str(path), run_name="loaded")
