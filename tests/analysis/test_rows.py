"""The numbers of a row against hand computation."""

import pytest

from cohobate.analysis.comparison import compare


def test_numbers_by_hand(make_run):
    cost = {"cost": {"parameters": 1000, "trained_parameters": 2500, "macs": 7}}
    plain = [make_run(seed=seed, test=test) for seed, test in ((1, 0.80), (2, 0.82), (3, 0.87))]
    taught = [
        make_run(method="mixskd", seed=1, test=0.90, top1=(0.5, 0.9, 0.6), environment=cost),
        make_run(method="mixskd", seed=2, test=0.88, top1=(0.7, 0.6, 0.5), environment=cost),
        make_run(method="mixskd", seed=3, test=0.86, environment=cost),
    ]
    comparison = compare(taught + plain)
    baseline, row = comparison.rows
    assert (baseline.label, row.label) == ("supervised", "mixskd")
    assert baseline.baseline is baseline.difference is None
    assert baseline.score == pytest.approx(0.83)
    assert baseline.score_sd == pytest.approx(((0.03**2 + 0.01**2 + 0.04**2) / 2) ** 0.5)
    assert (row.seeds, row.baseline) == (3, "supervised")
    assert (row.score, row.score_sd) == (pytest.approx(0.88), pytest.approx(0.02))
    assert row.difference == pytest.approx(0.05)
    assert row.best_val == pytest.approx((0.9 + 0.7 + 0.7) / 3)
    assert row.last_val == pytest.approx((0.6 + 0.5 + 0.6) / 3)
    assert (row.parameters, row.trained_parameters) == (1000, 2500)
    assert row.images_per_second == 200
    assert row.minutes == pytest.approx(1.5)
    assert row.low is row.high is None  # nobody said which images were answered rightly
    assert row.top5 is row.oracle is row.memory is row.mixed is None


def test_without_baseline_or_validation_nothing_is_invented(make_run):
    (row,) = compare([make_run(method="kd", top1=())]).rows
    assert row.score_sd is row.difference is row.best_val is row.last_val is None


def test_a_difference_is_of_pairs(make_run):
    runs = [make_run(seed=seed, test=test) for seed, test in ((1, 0.5), (2, 0.6), (3, 0.9))]
    runs += [make_run(method="kd", seed=seed, test=test) for seed, test in ((1, 0.6), (2, 0.65))]
    comparison = compare(runs)
    assert comparison.rows[1].difference == pytest.approx((0.1 + 0.05) / 2)
    (said,) = (warning for warning in comparison.warnings if warning.startswith("seed"))
    assert "1, 2 in kd" in said and said.endswith("over the seeds that both rows have")


def test_what_else_a_row_holds(make_run):
    last = {"test/top5": 0.9, "oracle/top1": 0.83}
    memory = {"peak_memory_bytes": 10 * 2**20}
    runs = [
        make_run(seed=1, last=last, environment=memory),
        make_run(seed=2, last={**last, "test/top5": 0.8}, environment={"peak_memory_bytes": 5}),
    ]
    found = compare(runs)
    assert "oracle: the test images chose the epoch, so it is no result" in found.warnings
    (row,) = found.rows
    assert (row.top5, row.oracle) == (pytest.approx(0.85), pytest.approx(0.83))
    assert row.top5_sd == pytest.approx(0.005**0.5)
    assert (row.memory, row.epochs) == (5 * 2**20 + 2, 3)


def test_a_budget_shows_what_each_row_had_of_it(make_run):
    sizes = {"parameters": 1, "trained_parameters": 2}
    dear = {"cost": {**sizes, "step_macs": 720_000_000, "supervised_macs": 240_000_000}}
    runs = [
        make_run(last={"step": 60}),
        make_run(method="kd", last={"step": 27}, environment=dear),
        make_run(method="byot", environment={"cost": sizes}),
    ]
    rows = {row.label: row for row in compare(runs, budget="Every method …").rows}
    assert {label: row.share for label, row in rows.items()} == {
        "supervised": 1,
        "kd": pytest.approx(3 * 27 / 60),
        "byot": None,
    }
    assert rows["kd"].step_operations == 64 * 720e6  # of a batch
    assert rows["kd"].operations == 27 * 64 * 720e6
    assert [row.share for row in compare(runs).rows] == [None] * 3
