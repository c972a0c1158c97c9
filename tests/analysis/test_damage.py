"""Run folders that are damaged, or hold what cannot be: each is one sentence, and the others are compared."""

import json

import numpy as np
import pytest

from cohobate.analysis.comparison import compare
from cohobate.analysis.runs import Run
from cohobate.outcomes import Outcomes

RIGHT = [i % 5 > 0 for i in range(400)]


def test_a_damaged_run_is_left_out_and_said(make_run):
    good, bad = make_run(seed=1), make_run(seed=2)
    (bad / "environment.json").write_text("{")
    comparison = compare([good, bad])
    assert [run.seed for run in comparison.runs] == [1]
    assert comparison.warnings[0].startswith(f"left out: {bad / 'environment.json'} is damaged: ")
    assert [f"left out: {said}" for said in comparison.left_out] == comparison.warnings[:1]


def test_a_folder_that_cannot_be_read_is_no_success(make_run, cohobate):
    good, bad = make_run(seed=1), make_run(seed=2)
    (bad / "metrics.jsonl").write_text("{")
    ran = cohobate("compare", good, bad, "--out", "out")
    assert ran.code == 1 and "warning: left out: " in ran.out
    ran = cohobate("compare", good, good.parent / "seed3", "--out", "out")
    assert ran.code == 2 and f"there is no {good.parent / 'seed3'}: give run folders" in ran.err
    ran = cohobate("compare", good.parent, "--out", "out")
    assert ran.code == 2 and f"name those, such as {good.parent / 'seed'}" in ran.err


def test_outcomes_of_another_network_are_refused(make_run):
    run = make_run(right=RIGHT)
    rows = (run / "metrics.jsonl").read_text().replace('"test/top1": 0.8', '"test/top1": 0.81')
    (run / "metrics.jsonl").write_text(rows)
    with pytest.raises(
        ValueError, match=r"is of another network: its top-1 is 80\.00 % there, and 81"
    ):
        Run.read(run)
    (run / "outcomes.json").write_text("{}")
    with pytest.raises(ValueError, match=r"outcomes\.json is damaged: it holds no outcomes"):
        Run.read(run)


def test_outcomes_of_other_images_are_refused(make_run):
    run = make_run(right=RIGHT, images="1" * 32, environment={"images": {"test": "1" * 32}})
    assert Run.read(run).images == {"test": "1" * 32}
    (run / "outcomes.json").write_text(json.dumps(Outcomes("2" * 32, np.array(RIGHT)).table()))
    with pytest.raises(ValueError, match=r"outcomes\.json is of other images: .* 22222222 there"):
        Run.read(run)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"test/top1": 0.8', '"test/top1": "high"', 'line 3: test/top1 is "high", and no number'),
        ('"test/top1": 0.8', '"test/top1": NaN', "test/top1 is nan, and no share between 0 and 1"),
        ('"seconds": 30.0, ', "", "line 1 does not say seconds"),
    ],
)
def test_numbers_that_are_none_leave_a_run_out(make_run, old, new, reason):
    good, bad = make_run(seed=1), make_run(seed=2)
    file = bad / "metrics.jsonl"
    file.write_text(file.read_text().replace(old, new))
    comparison = compare([good, bad])
    assert [run.seed for run in comparison.runs] == [1]
    assert comparison.warnings[0].startswith(f"left out: {file}")
    assert comparison.warnings[0].endswith(f": {reason}")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.toml", None, "is not a run folder: it has no config.toml"),
        ("config.toml", "seed = [", "config.toml is damaged: "),
        ("config.toml", "seed = 1", "config.toml does not say data.name, model.arch, method.name"),
        ("environment.json", None, "is not a run folder: it has no environment.json"),
        ("environment.json", '{"cost": {}}', "does not say cost.parameters, cost.trained_param"),
        ("metrics.jsonl", '{"epoch": 0}\n{"epo', "is damaged: line 2 is not JSON; was it cut off?"),
        ("metrics.jsonl", '{"epoch": 0}\n{"epoch": 0}', "is damaged: line 2 is not epoch 1"),
        ("metrics.jsonl", '{"epoch": 0}\n[1]', "is damaged: line 2 is not epoch 1"),
        ("metrics.jsonl", "null", "is damaged: line 1 is not epoch 0"),
        ("metrics.jsonl", "\xff\xfe", "metrics.jsonl is damaged: "),
        ("environment.json", "[1]", "environment.json is damaged: it holds no table"),
    ],
)
def test_damage_is_named(make_run, file, content, reason):
    path = make_run()
    if content is None:
        (path / file).unlink()
    else:
        (path / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"^{path}") as error:
        Run.read(path)
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("row", ["[1]", "null", "3"])
def test_a_row_that_is_none_is_one_sentence(make_run, cohobate, row):
    path = make_run()
    (path / "metrics.jsonl").write_text(row + "\n")
    ran = cohobate("compare", path)
    assert ran.code == 2
    damage = "is damaged: line 1 is not epoch 0"
    said = f"cohobate: no finished run to compare; {path / 'metrics.jsonl'} {damage}\n"
    assert ran.err == said


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        Run.read(tmp_path / "nowhere")
