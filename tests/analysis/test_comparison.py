"""The numbers of a comparison against hand computation; what it warns of, and what it refuses."""

import pytest

from cohobate.analysis.comparison import compare
from cohobate.analysis.runs import Run


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
    assert baseline.top1 == pytest.approx(0.83)
    assert baseline.top1_sd == pytest.approx(((0.03**2 + 0.01**2 + 0.04**2) / 2) ** 0.5)
    assert (row.seeds, row.baseline) == (3, "supervised")
    assert (row.top1, row.top1_sd) == (pytest.approx(0.88), pytest.approx(0.02))
    assert row.difference == pytest.approx(0.05)
    assert row.best_val == pytest.approx((0.9 + 0.7 + 0.7) / 3)
    assert row.last_val == pytest.approx((0.6 + 0.5 + 0.6) / 3)
    assert (row.parameters, row.trained_parameters) == (1000, 2500)
    assert row.images_per_second == 200
    assert row.minutes == pytest.approx(1.5)
    assert comparison.warnings == []


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
    assert [(group.data, row.top1) for group, row in zip(comparison.groups, comparison.rows)] == [
        *(("digits", 0.6), ("digits", 0.7)),
        *(("cifar10", 0.5), ("cifar10", 0.9)),
    ]
    assert comparison.warnings[0] == (
        "accuracies on digits, cifar10 are not to be compared: the rows of each are ranked for"
        " themselves"
    )
    assert not any("cifar10" in said and "digits" in said for said in comparison.findings)


def test_without_baseline_or_validation_nothing_is_invented(make_run):
    (row,) = compare([make_run(method="kd", top1=())]).rows
    assert row.top1_sd is row.difference is row.best_val is row.last_val is None


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ((0.90, 0.91), "Ahead of supervised: kd (+10.00)"),
        ((0.80, 0.815), "Ahead of supervised by no more than the spread over seeds: kd (+0.25)"),
        ((0.80, 0.81), "Not ahead of supervised: kd (+0.00)"),
        ((0.70, 0.71), "Not ahead of supervised: kd (−10.00)"),
        ((0.90,), "Ahead of supervised, as far as one seed can tell: kd (+9.50)"),
    ],
)
def test_words_are_no_stronger_than_the_numbers(make_run, test, said):
    plain = [make_run(seed=1, test=0.80), make_run(seed=2, test=0.81)]
    taught = [make_run(method="kd", seed=i, test=value) for i, value in enumerate(test)]
    assert compare(plain + taught).findings == [said]


def test_what_differs_is_named(make_run):
    runs = [make_run(seed=1), make_run(seed=2, environment={"torch": "2.9.0"})]
    runs += [make_run(method=m, seed=s) for m in ("kd", "mixup") for s in (1, 2)]
    machine = {"processor": "Apple M4", "date": "later"}
    runs.append(make_run(method="byot", environment=machine, config={"data": {"name": "digits"}}))
    assert compare(runs).warnings == [
        "data.batch_size differs: unset in byot; 64 elsewhere",
        "data.augment differs: unset in byot; crop, flip elsewhere",
        "data.val differs: unset in byot; 0.1 elsewhere",
        "torch differs: 2.9.0 in supervised (seed 2); 2.15.0 elsewhere",
        "processor differs: Apple M4 in byot; AMD EPYC 7763 elsewhere",
        "seed differs: 1 in byot; 1, 2 elsewhere",
        "one seed only, so no spread is given: byot",
    ]


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
        f"{half}: 2 of 3 epochs; `cohobate train` it again to finish",
        f"{unborn}: 0 of 3 epochs; `cohobate train` it again to finish",
        f"{untested}: 3 of 3 epochs; `cohobate train` it again to finish",
    ]
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
    assert ran.err == f"cohobate: {path / 'metrics.jsonl'} {damage}\n"


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder"):
        Run.read(tmp_path / "nowhere")
