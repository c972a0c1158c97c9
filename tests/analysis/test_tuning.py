"""What validation images choose among the values of a sweep, and what is said of the others."""

from cohobate.analysis.comparison import compare
from cohobate.analysis.tables import as_text
from cohobate.analysis.tuning import tune


def test_validation_chooses_and_the_test_images_do_not(make_run):
    def runs(name, method, alpha, test, val):
        given = {"options": {"alpha": alpha}} if method == "kd" else {}
        return [
            make_run(f"{name}{s}", method, s, test + s / 100, top1=(0.1, val + 0.05, val), **given)
            for s in (1, 2)
        ]

    paths = [
        *runs("a", "kd", 0.2, 0.90, 0.60),  # the best on the test images
        *runs("b", "kd", 0.4, 0.80, 0.70),  # the best on those of validation
        *runs("c", "kd", 0.8, 0.85, 0.65),
        *runs("d", "supervised", None, 0.70, 0.5),
        *runs("e", "mixskd", None, 0.81, 0.5),
    ]
    found = tune(compare(paths), ["method.alpha"])
    (said,) = found.tuned
    assert said == (
        "kd: validation chose method.alpha=0.4 among 3, with 70.00 % on its images; on the test"
        " images that has 81.50 ± 0.71 %, +10.00 against supervised"
    )
    assert [(row.label, row.chosen) for row in found.rows] == [
        ("supervised", None),
        (
            "mixskd",
            None,
        ),  # ahead of what was chosen of kd, though not of its best on the test images
        ("kd alpha=0.4", True),
        ("kd alpha=0.8", False),
        ("kd alpha=0.2", False),
    ]
    assert [group.label for group in found.groups] == [row.label for row in found.rows]
    told = " ".join(found.findings)
    assert "kd alpha=0.4 (+10.00)" in told
    assert "alpha=0.2" not in told and "alpha=0.8" not in told
    cells = [line.split()[2 if "alpha" in line else 1] for line in as_text(found).splitlines()]
    assert cells == ["chosen", "–", "–", "yes", "no", "no"]


def test_without_validation_nothing_is_chosen(make_run):
    paths = [
        make_run(f"{alpha}", "kd", options={"alpha": alpha}, top1=(), test=alpha)
        for alpha in (0.2, 0.4)
    ]
    found = tune(compare([*paths, make_run(test=0.1)]), ["method.alpha"])
    assert [row.label for row in found.rows] == ["supervised", "kd alpha=0.2", "kd alpha=0.4"]
    assert found.findings == []  # the best on the test images is not told of
    (said,) = found.tuned
    assert said.startswith("kd: nothing was chosen among 2 values of method.alpha: there are no")


def test_a_varied_baseline_is_held_at_its_best(make_run):
    paths = []
    for lr, plain, taught in ((0.1, 0.6, 0.62), (0.2, 0.7, 0.75)):
        optim = {"optim": {"epochs": 3, "lr": lr}}
        for method, score in (("supervised", plain), ("kd", taught)):
            top1 = (0.1, 0.2, 1 - score if method == "kd" else score)
            paths.append(make_run(f"{method}{lr}", method, test=score, top1=top1, config=optim))
    found = tune(compare(paths), ["optim.lr"])
    said = found.tuned
    assert said[0].startswith("supervised: validation chose optim.lr=0.2 among 2")
    assert said[1].startswith("kd: validation chose optim.lr=0.1 among 2")
    assert said[1].endswith("62.00 %, −8.00 against supervised optim.lr=0.2")
    assert found.findings == ["Not ahead of supervised optim.lr=0.2: kd optim.lr=0.1 (−8.00)"]


def test_part_of_a_name_is_not_varied(make_run):
    """`optim.lr` is in `optim.lr_floor` as text, and was not varied with it."""
    paths = [
        make_run(f"{floor}", "kd", config={"optim": {"epochs": 3, "lr": 0.1, "lr_floor": floor}})
        for floor in (0.1, 0.2)
    ]
    (said,) = tune(compare(paths), ["optim.lr", "optim.lr_floor"]).tuned
    assert said.startswith("kd: validation chose optim.lr_floor=0.1 among 2")


def test_equals_on_the_validation_images_are_not_parted_by_the_test_images(make_run):
    paths = [
        make_run(f"{alpha}", "kd", options={"alpha": alpha}, test=alpha) for alpha in (0.2, 0.4)
    ]
    rows = tune(compare([*paths, make_run(test=0.1)]), ["method.alpha"]).rows
    assert [(row.label, row.chosen) for row in rows[1:]] == [
        ("kd alpha=0.2", True),
        ("kd alpha=0.4", False),
    ]


def test_means_over_other_seeds_are_no_choice(make_run):
    paths = [
        make_run(f"{alpha}-{seed}", "kd", seed, options={"alpha": alpha})
        for alpha, seed in ((0.2, 1), (0.2, 2), (0.4, 2))
    ]
    found = tune(compare([*paths, make_run(test=0.1)]), ["method.alpha"])
    assert found.tuned == [
        "kd: nothing was chosen among 2 values of method.alpha: not all have the same seeds, and"
        " means over other seeds are no choice"
    ]
    assert found.findings == []


def test_only_a_budget_makes_runs_of_other_lengths_one_choice(make_run):
    def runs(epochs, lr):
        optim = {"optim": {"epochs": 3, "lr": lr, "warmup": epochs / 10}}
        return make_run(f"{epochs}-{lr}", "supervised", config=optim)

    paths = [runs(20, 0.1), runs(20, 0.2), runs(30, 0.1), runs(30, 0.2)]
    apart = tune(compare(paths), ["optim.lr"])
    assert [row.chosen for row in apart.rows].count(True) == 2
    together = tune(compare(paths, budget="equal time"), ["optim.lr"])
    assert [row.chosen for row in together.rows].count(True) == 1


def test_data_is_not_chosen(make_run):
    paths = [
        make_run(name, config={"data": {"name": name, "batch_size": 64}})
        for name in ("digits", "cifar10")
    ]
    found = tune(compare(paths), ["data.name"])
    assert [row.chosen for row in found.rows] == [None, None]
    assert found.tuned == []
