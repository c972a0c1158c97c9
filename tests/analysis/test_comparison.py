"""Runs side by side: what stands in one row, what is said of it, what is warned of, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from cohobate.analysis.bootstrap import interval
from cohobate.analysis.comparison import compare, uneven
from cohobate.analysis.curves import learning_curves
from cohobate.analysis.rows import percent


def test_baseline_first_then_the_best(make_run):
    runs = {"cskd": 0.75, "supervised": 0.8, "byot": 0.85}
    comparison = compare([make_run(method=method, test=test) for method, test in runs.items()])
    assert [row.label for row in comparison.rows] == ["supervised", "byot", "cskd"]


def test_options_join_the_label_only_where_they_set_groups_apart(make_run):
    same = {"temperature": 3.0}
    runs = [
        make_run("a", "mixskd", options=same),
        make_run("b", "mixskd", options=same | {"variant": "released"}),
        make_run("c", "kd", options={"temperature": 4.0}),
        make_run("d", "kd", options={"temperature": 4.0}, config={"checkpoint_every": 50}, seed=2),
    ]
    assert {row.label for row in compare(runs).rows} == {"mixskd", "mixskd variant=released", "kd"}


def test_options_of_a_mixing_set_only_those_apart_that_mix(make_run):
    def mixed(alpha: float) -> dict:
        return {"mix": {"name": "mixup", "alpha": alpha, "per": "batch"}}

    plain, one = make_run("a", "kd"), make_run("b", "kd", config=mixed(0.2))
    found = compare([make_run(), plain, one])
    assert {row.label for row in found.rows} == {"supervised", "kd", "kd mix.name=mixup"}
    assert [said for said in found.warnings if said.startswith("mix.")] == [
        "mix.name differs: mixup in kd mix.name=mixup; unset in supervised, kd"
    ]
    found = compare([plain, one, make_run("c", "kd", config=mixed(0.4))])
    assert {row.label for row in found.rows} == {
        "kd",
        "kd mix.name=mixup mix.alpha=0.2",
        "kd mix.name=mixup mix.alpha=0.4",
    }


def test_other_settings_are_another_row_with_the_nearest_baseline(make_run):
    slow = {"optim": {"epochs": 3, "lr": 0.01}}
    runs = [
        make_run("a", test=0.5),
        make_run("b", test=0.6, config=slow),
        make_run("c", "mixskd", test=0.9, config=slow),
        make_run("d", config={"mix": {"name": "cutmix"}, "optim": {"epochs": 3, "lr": 0.1}}, test=0.7),
    ]  # fmt: skip
    rows = {row.label.partition(" ")[2] or row.label: row for row in compare(runs).rows}
    assert rows["mixskd"].baseline == "supervised optim.lr=0.01"
    assert rows["mixskd"].difference == pytest.approx(0.3)
    assert rows["optim.lr=0.1 mix.name=cutmix"].difference == pytest.approx(0.2)


def test_no_difference_across_data_sets(make_run):
    other = {"data": {"name": "cifar10", "batch_size": 64}}
    comparison = compare([make_run(), make_run(method="mixskd", config=other)])
    assert [row.difference for row in comparison.rows] == [None, None]
    assert "data.name differs: cifar10 in mixskd; digits in supervised" in comparison.warnings


def test_data_sets_are_ranked_for_themselves(make_run):
    other = {"data": {"name": "cifar10", "batch_size": 64}}
    comparison = compare(
        [
            make_run("a", "kd", test=0.7),
            make_run("b", "kd", test=0.9, config=other),
            make_run("c", test=0.5, config=other),
            make_run("d", test=0.6),
        ]
    )
    assert [(group.data, row.score) for group, row in zip(comparison.groups, comparison.rows)] == [
        *(("digits", 0.6), ("digits", 0.7)),
        *(("cifar10", 0.5), ("cifar10", 0.9)),
    ]
    assert comparison.warnings[0] == (
        "scores on digits, cifar10 are not to be compared: the rows of each are ranked for"
        " themselves"
    )
    assert not any("cifar10" in said and "digits" in said for said in comparison.findings)


def test_what_chance_alone_does_to_many_intervals_is_told(make_run):
    found = compare([make_run(), make_run(method="kd")])
    plain, row = found.rows[0], replace(found.rows[1], low=-0.01, high=0.02)
    few, many, most = (replace(found, rows=[plain] + [row] * n) for n in (19, 20, 62))
    assert len(few.findings) == 1
    assert many.findings[-1].startswith("Each of the 20 intervals in the table is for one")
    assert many.findings[-1].endswith("about 1 would be expected to leave zero out")
    assert "about 3 would be" in most.findings[-1]
    tried = replace(many, rows=[plain, row] + [replace(row, chosen=False)] * 40)
    assert len(tried.findings) == 1  # of what was not chosen nothing is said


def test_a_crowd_is_told_of_in_fewer_words_and_strokes(make_run):
    def drawn(methods: int) -> tuple[str, int]:
        runs = [
            make_run(f"{methods}/m{n}", "kd", options={"temperature": n}) for n in range(methods)
        ]
        found = compare([make_run(f"{methods}/plain"), *runs])
        bounded = [replace(row, low=-0.01, high=0.01) for row in found.rows[1:]]
        said = replace(found, rows=[found.rows[0], *bounded]).findings[0]
        return said, len(list(learning_curves(found).data))

    said, traces = drawn(11)
    assert traces == 12 * 3 and said.count("95 % interval") == 11
    said, traces = drawn(13)
    assert traces == 14 and "interval" not in said
    assert said.startswith("Not shown to be ahead of supervised, 13 rows: kd temperature=")


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            (0.90, 0.91),
            "Ahead of supervised by more than the spread over seeds: kd (+10.00)",
        ),
        ((0.80, 0.815), "Ahead of supervised by no more than the spread over seeds: kd (+0.25)"),
        ((0.80, 0.81), "Not ahead of supervised: kd (+0.00)"),
        ((0.70, 0.71), "Not ahead of supervised: kd (−10.00)"),
        (
            (0.90,),
            "Above supervised on one seed, which does not show that it is ahead: kd (+10.00)",
        ),
    ],
)
def test_words_are_no_stronger_than_the_numbers(make_run, test, said):
    plain = [make_run(seed=1, test=0.80), make_run(seed=2, test=0.81)]
    taught = [make_run(method="kd", seed=i, test=value) for i, value in enumerate(test, 1)]
    assert compare(plain + taught).findings == [said]


def right(*wrong: int, images: int = 400) -> list[bool]:
    """Answers to the test images: all but so many of the first hundred, second hundred, …"""
    return [i % 100 >= wrong[i // 100] for i in range(images)]


PLAIN = {1: right(20, 20, 20, 20), 2: right(21, 20, 20, 19), 3: right(20, 21, 19, 20)}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([right(9, 9, 9, 9), right(8, 9, 9, 9), right(9, 8, 9, 9)], "Ahead of supervised"),
        ([right(40, 39, 40, 40), right(40, 40, 40, 40)], "Behind supervised"),
        ([right(19, 20, 20, 20), right(21, 20, 20, 20)], "Not shown to be ahead of supervised"),
        ([right(10, 10, 10, 10), right(30, 29, 30, 30)], "Not shown to be ahead of supervised"),
    ],
)
def test_words_follow_from_the_interval(make_run, answers, said):
    runs = [make_run(seed=seed, right=each) for seed, each in PLAIN.items()]
    runs += [make_run(method="kd", seed=s, right=each) for s, each in enumerate(answers, 1)]
    comparison = compare(runs)
    _, row = comparison.rows
    seeds = range(1, len(answers) + 1)
    ours, theirs = (np.array(side) for side in (answers, [PLAIN[seed] for seed in seeds]))
    assert (row.low, row.high) == interval(ours, theirs)
    assert row.difference == pytest.approx(ours.mean() - theirs.mean())
    assert row.low and row.high and row.difference
    assert row.low < row.difference < row.high
    (found,) = comparison.findings
    bounds = f"95 % interval {percent(row.low, '+')} to {percent(row.high, '+')}"
    assert found == f"{said}: kd ({percent(row.difference, '+')}, {bounds})"


def test_without_a_common_seed_there_is_no_difference(make_run):
    comparison = compare([make_run(seed=1), make_run(method="kd", seed=2, test=0.9)])
    assert comparison.rows[1].difference is comparison.rows[1].low is None
    assert "kd and supervised have no seed in common, so no difference is given" in (
        comparison.warnings
    )
    assert comparison.findings == []


def test_one_common_seed_gives_no_interval(make_run):
    runs = [make_run(seed=seed, right=PLAIN[seed]) for seed in (1, 2)]
    runs += [make_run(method="kd", seed=seed, right=right(0, 0, 0, 0)) for seed in (2, 3)]
    comparison = compare(runs)
    row = comparison.rows[1]
    assert row.difference == pytest.approx(0.2)
    assert row.low is row.high is None
    assert comparison.warnings[0] == (
        "kd and supervised have one seed in common, so no interval is given"
    )


def test_a_run_without_outcomes_is_compared_without_an_interval(make_run):
    runs = [make_run(seed=seed, right=PLAIN[seed]) for seed in (1, 2)]
    runs += [make_run(method="kd", seed=1, right=PLAIN[1]), make_run(method="kd", seed=2)]
    comparison = compare(runs)
    assert comparison.rows[1].low is None
    assert comparison.warnings == [
        "no outcomes.json, and without it no interval over test images: kd (seed 2)"
    ]


def test_seeds_of_other_code_or_hardware_mark_their_row(make_run):
    runs = [
        make_run(seed=1, environment={"code": "aaa"}),
        make_run(seed=2, environment={"code": "bbb", "processor": "Apple M4"}),
        make_run(method="kd", seed=1, environment={"code": "aaa"}),
        make_run(method="kd", seed=2, environment={"code": "aaa"}),
    ]
    comparison = compare(runs)
    assert [row.mixed for row in comparison.rows] == ["processor, code", None]
    assert "code differs: bbb in supervised (seed 2); aaa in supervised (seed 1), kd" in (
        comparison.warnings
    )


def test_what_differs_is_named(make_run):
    runs = [make_run(seed=1), make_run(seed=2, environment={"torch": "2.9.0"})]
    runs += [make_run(method=m, seed=s) for m in ("kd", "mixup") for s in (1, 2)]
    machine = {"processor": "Apple M4", "date": "later"}
    runs.append(make_run(method="byot", environment=machine, config={"data": {"name": "digits"}}))
    assert compare(runs).warnings == [
        "no plain run of supervised on the same images and network, so no difference is given: byot",
        "data.batch_size differs: unset in byot; 64 elsewhere",
        "data.augment differs: unset in byot; crop, flip elsewhere",
        "data.val differs: unset in byot; 0.1 elsewhere",
        "torch differs: 2.9.0 in supervised (seed 2); 2.15.0 elsewhere",
        "processor differs: Apple M4 in byot; AMD EPYC 7763 elsewhere",
        "seed differs: 1 in byot; 1, 2 elsewhere; a difference is over the seeds that both rows have",
        "one seed only, so no spread and no interval is given: byot",
        "no outcomes.json, and without it no interval over test images: supervised (seed 1, 2),"
        " kd (seed 1, 2), mixup (seed 1, 2)",
    ]


def test_seeds_of_a_row_from_two_folders_of_data_are_named(make_run):
    """Settings tell nothing of the training images in a folder, and seeds cut them differently."""
    facts = {"name": "npz", "batch_size": 64, "augment": [], "val": 0.1}
    here, there = ({"data": {**facts, "root": root}} for root in ("a", "b"))
    runs = [make_run(seed=1, config=here), make_run(seed=2, config=there)]
    comparison = compare([*runs, make_run(method="kd", seed=1, config=here)])
    assert [row.mixed for row in comparison.rows] == ["data.root", None]
    said = (
        "data.root differs: b in supervised (seed 2); a in supervised (seed 1); where these are not"
    )
    assert [each for each in comparison.warnings if each.startswith(said)]


def test_one_seed_in_common_is_one_seed(make_run):
    ours = [make_run(method="kd", seed=seed, test=0.9) for seed in (1, 2)]
    theirs = [make_run(seed=seed, test=0.7) for seed in (2, 3)]
    comparison = compare([*ours, *theirs])
    assert comparison.rows[1].common == 1
    assert comparison.findings == [
        "Above supervised on one seed, which does not show that it is ahead: kd (+20.00)"
    ]


def test_a_share_far_from_the_baseline_is_a_warning(make_run):
    sizes = {"parameters": 1, "trained_parameters": 2}
    dear = {"cost": {**sizes, "step_macs": 720_000_000, "supervised_macs": 240_000_000}}
    runs = [make_run(last={"step": 60}), make_run(method="kd", last={"step": 27}, environment=dear)]
    said = "in whole epochs, a training costs another share of the baseline's operations: kd 1.35"
    assert uneven(compare(runs, budget="Every method …"), "compute") == [said]
    assert uneven(compare(runs[:1]), "compute") == []


def test_minutes_far_from_those_of_the_baseline_are_a_warning(make_run):
    runs = [make_run(), make_run(method="kd", last={"seconds": 12.0})]  # instead of 30
    said = (
        "whole epochs, or another pace than was timed, gave another share of the minutes: kd 0.80"
    )
    assert uneven(compare(runs), "minutes") == [said]
    assert uneven(compare(runs), "epochs") == uneven(compare(runs[:1]), "minutes") == []


def test_unfinished_runs_are_left_out_and_said(make_run):
    half = make_run(seed=2)
    rows = (half / "metrics.jsonl").read_text().splitlines()
    (half / "metrics.jsonl").write_text("\n".join(rows[:2]))
    unborn = make_run(seed=3)
    (unborn / "metrics.jsonl").unlink()
    untested = make_run(seed=4, test=None)
    comparison = compare([make_run(seed=1), half, unborn, untested])
    assert [run.seed for run in comparison.runs] == [1]
    assert comparison.warnings[:3] == [
        f"left out: {half}: 2 of 3 epochs so far: `cohobate train` it again to finish",
        f"left out: {unborn}: 0 of 3 epochs so far: `cohobate train` it again to finish",
        f"left out: {untested}: 3 of 3 epochs so far: `cohobate train` it again to finish",
    ]
    (half / "model.safetensors").touch()  # as where rows were lost once it was done
    with pytest.raises(ValueError, match="although its network is done: remove the folder"):
        compare([half])
    (half / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no finished run to compare; .*seed2: 2 of 3 epochs"):
        compare([half])


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="no finished run to compare"):
        compare([])


def test_a_run_counts_once(make_run, tmp_path):
    run, copy = make_run(), make_run("copy")
    assert compare([run, run]).rows[0].seeds == 1
    with pytest.raises(ValueError, match=f"{run} and {copy} are the same run twice"):
        compare([run, copy])
