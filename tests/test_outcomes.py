"""`outcomes.json`: which test images the network of a run answered rightly."""

import json
from pathlib import Path

import numpy as np
import pytest

from cohobate.data import classification
from cohobate.outcomes import Outcomes, Overlaps
from cohobate.scores import record_outcomes
from cohobate.trained import reopen


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10_000])
def test_bits_come_back(count):
    right = np.random.default_rng(count).random(count) < 0.7
    table = Outcomes("abc", right).table()
    assert len(table["right"]) == 2 * -(-count // 8)
    again = Outcomes.of(json.loads(json.dumps(table)))
    assert again.fingerprint == "abc"
    assert (again.right == right).all()
    assert again.score == pytest.approx(sum(right) / count)


def test_the_first_image_is_the_highest_bit():
    right = np.array([True, False, False, False, False, False, False, True, True])
    assert Outcomes("", right).table()["right"] == "8180"


def test_overlaps_come_back():
    counts = np.random.default_rng(0).integers(0, 9, (5, 2, 3))
    counts[:, 0] = np.minimum(counts[:, 0], counts[:, 1])
    counts[2] = 0
    again = Overlaps.of(json.loads(json.dumps(Overlaps("abc", counts).table())))
    assert again.fingerprint == "abc"
    assert (again.counts == counts).all()
    shares = [counts[:, 0, k].sum() / counts[:, 1, k].sum() for k in range(3)]
    assert again.score == pytest.approx(np.mean(shares))


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"images": 2, "classes": 2, "fingerprint": "a", "overlaps": [[[0, 1, 2]]]},
        {"images": 1, "classes": 2, "fingerprint": "a", "overlaps": [[[2, 1, 2]]]},
        {"images": 1, "classes": 2, "fingerprint": "a", "overlaps": [[[0, 1]]]},
        {"images": 1, "classes": 2, "fingerprint": "a", "overlaps": [[]]},
    ],
)
def test_what_is_no_overlap_is_told(table):
    with pytest.raises(ValueError, match="it holds"):
        Overlaps.of(table)


@pytest.mark.parametrize(
    "table, sentence",
    [
        ({}, "it holds no outcomes"),
        ({"images": 3, "fingerprint": "a", "right": "zz"}, "it holds no outcomes"),
        ({"images": 3, "fingerprint": "a", "right": None}, "it holds no outcomes"),
        ({"images": 9, "fingerprint": "a", "right": "ff"}, "1 bytes of answers for 9 images"),
        ({"images": 0, "fingerprint": "a", "right": ""}, "0 bytes of answers for 0 images"),
    ],
)
def test_what_is_none_is_told(table, sentence):
    with pytest.raises(ValueError, match=sentence):
        Outcomes.of(table)


def test_a_run_leaves_them_and_they_can_be_made_again(smoke, cohobate):
    ran = smoke("run", "data.per_class=8", "compile=false")
    assert ran.code == 0, ran.err
    written = Path("run/outcomes.json").read_text(encoding="utf-8")
    outcomes = Outcomes.of(json.loads(written))
    row = json.loads(Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert outcomes.score == pytest.approx(row["test/top1"], abs=1e-6)

    test = classification.load("digits").test
    assert test is not None
    assert outcomes.fingerprint == test.fingerprint()
    network = reopen("run").network.eval()
    said = network(test.images.float() / 255).argmax(1) == test.targets  # pyright: ignore
    assert (said.numpy() == outcomes.right).mean() > 0.99  # float32 here, maybe bf16 there

    Path("run/outcomes.json").unlink()
    record_outcomes("run")
    assert Path("run/outcomes.json").read_text(encoding="utf-8") == written


def test_answers_of_another_network_are_not_written(smoke):
    ran = smoke("run", "data.per_class=8", "compile=false")
    assert ran.code == 0, ran.err
    Path("run/outcomes.json").unlink()
    metrics = Path("run/metrics.jsonl")
    row = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.write_text(json.dumps(row | {"test/top1": row["test/top1"] + 0.01}) + "\n")
    with pytest.raises(ValueError, match=r"run scores .* % here and .* % in metrics.jsonl"):
        record_outcomes("run")
    assert not Path("run/outcomes.json").exists()
