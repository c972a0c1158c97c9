"""Runs that were trained, or scored, on other images: never in one row, never held against each other."""

import pytest

from cohobate.analysis.comparison import compare

ANSWERS = {seed: [(i + seed) % 5 > 0 for i in range(100)] for seed in (1, 2, 3)}


def test_equal_settings_on_other_test_images_are_rows_of_their_own(make_run):
    one, other = "1" * 32, "2" * 32
    runs = [make_run(seed=seed, right=ANSWERS[seed], images=one) for seed in (1, 2)]
    runs += [
        make_run(method="kd", seed=seed, right=ANSWERS[seed], images=images)
        for seed, images in ((1, one), (2, other), (3, one))
    ]
    rows = {row.label: row for row in compare(runs).rows}
    assert {label: row.seeds for label, row in rows.items()} == {
        "supervised": 2,
        "kd data.images=11111111": 2,
        "kd data.images=22222222": 1,
    }
    assert rows["kd data.images=11111111"].baseline == "supervised"  # it is on the same
    assert rows["kd data.images=22222222"].difference is None


def test_other_training_images_of_one_seed_are_told(make_run):
    def images(mark: str) -> dict:
        return {"images": {"train": mark * 32, "test": "0" * 32}}

    runs = [make_run(seed=1, environment=images("a")), make_run(seed=2, environment=images("b"))]
    runs.append(make_run(method="kd", seed=2, environment=images("c")))
    found = [said for said in compare(runs).warnings if "training images" in said]
    assert len(found) == 1
    assert found[0].startswith("fingerprint of the training images of seed 2 differs: ")
    assert "cccccccc" in found[0]


def test_other_validation_images_of_one_seed_are_told(make_run):
    runs = [
        make_run(method=method, environment={"images": {"val": mark * 32, "test": "0" * 32}})
        for method, mark in (("supervised", "a"), ("kd", "b"))
    ]
    found = [said for said in compare(runs).warnings if "validation images of seed" in said]
    assert len(found) == 1 and "bbbbbbbb in kd" in found[0]


@pytest.mark.parametrize("images", [100, 80], ids=["as many", "fewer"])
def test_scores_of_other_test_images_are_not_subtracted(make_run, images):
    runs = [make_run(seed=s, right=ANSWERS[s], images="1" * 32) for s in (1, 2)]
    better = [True] * images
    runs += [make_run(method="kd", seed=s, right=better, images="2" * 32) for s in (1, 2)]
    found = compare(runs)
    assert [(row.baseline, row.difference, row.low) for row in found.rows] == [(None,) * 3] * 2
    assert found.findings == []
    (said,) = [said for said in found.warnings if "test images" in said]
    assert said == (
        "fingerprint of the test images differs: 22222222 in kd; 11111111 in supervised; no"
        " difference is taken between those rows"
    )


def test_a_stage_of_a_seed_of_its_own_parts_no_row(make_run):
    """Where it is the run's own, its config.toml leaves it out."""
    stages = {1: {}, 2: {"seed": 1}}
    runs = [
        make_run("", "kd", seed, config={"before": [{"method": {"name": "supervised"}, **stage}]})
        for seed, stage in stages.items()
    ]
    (row,) = compare(runs).rows
    assert row.seeds == 2


def test_two_runs_of_one_seed_on_other_training_images_are_not_called_the_same(make_run):
    paths = [make_run(mark, environment={"images": {"train": mark * 32}}) for mark in "ab"]
    with pytest.raises(ValueError, match="one seed and of the same settings on other training"):
        compare(paths)


@pytest.mark.parametrize("marks", ["ab", "ba"])
def test_the_baseline_is_the_one_on_the_same_training_images(make_run, marks):
    def given(mark: str) -> dict:
        return {
            "config": {"data": {"name": "digits", "seed": 0}},
            "environment": {"images": {"train": mark * 32, "test": "0" * 32}},
        }

    runs = [make_run(mark, test=0.5 if mark == "a" else 0.6, **given(mark)) for mark in marks]
    rows = compare([*runs, make_run(method="kd", test=0.7, **given("b"))]).rows
    (row,) = [row for row in rows if row.label == "kd"]
    assert row.difference == pytest.approx(0.1)
