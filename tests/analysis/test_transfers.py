"""The table of transfers: each cell from its runs, and none that is empty without being named."""

import csv
import io
import json
from statistics import fmean, stdev

import pytest

from cohobate.analysis.comparison import compare
from cohobate.analysis.report import write_report
from cohobate.analysis.runs import Run
from cohobate.analysis.transfers import (
    Column,
    as_csv,
    as_json,
    as_rich,
    as_text,
    lines,
    transfers,
    write,
)

RIGHT = {
    ("supervised", 1): [1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ("supervised", 2): [1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    ("mixskd", 1): [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
    ("mixskd", 2): [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}
SHARES = {("supervised", 1): 0.25, ("supervised", 2): 0.35, ("mixskd", 1): 0.31}
"""Of masks; one network has none."""


@pytest.fixture
def found(make_run):
    before = {key: make_run(method=key[0], seed=key[1], test=0.9) for key in RIGHT}

    def run(kind, key, **given):
        method, seed = key
        return Run.read(make_run(f"{kind}/{method}-{seed}", method, seed, **given))

    answers = {before[k]: run("linear", k, right=right) for k, right in RIGHT.items()}
    masks = {
        before[k]: run(
            "masks", k, test=None, config={"task": "segmentation"}, last={"test/miou": v}
        )
        for k, v in SHARES.items()
    }
    return transfers(
        compare(before.values()),
        [
            Column("linear-stl10", "stl10", "linear top-1", answers),
            Column("segmentation-shapes", "shapes", "mIoU", masks),
        ],
        ["mixskd failed"],
    )


def test_cells_are_means_over_seeds_and_differences_over_those_that_both_have(found):
    (_, _, one), (_, linear, other) = found.rows
    assert found.columns[0].name == "pre-training"
    assert (linear.method, linear.baseline) == ("mixskd", "supervised")
    assert linear.score == pytest.approx(fmean([0.6, 0.7]))
    assert linear.score_sd == pytest.approx(stdev([0.6, 0.7]))
    assert linear.difference == pytest.approx(0.4)
    assert linear.low is not None and linear.low > 0
    assert (one.score, one.baseline) == (pytest.approx(0.3), None)
    assert other.difference == pytest.approx(0.31 - 0.25)
    assert (other.low, other.score_sd) == (None, None)
    assert (other.seeds, other.networks) == (1, 2)


def test_every_cell_names_what_was_measured_and_none_is_lost(found):
    assert lines(found) == [
        ["method", "seeds", *("digits top-1 (%)", "diff. [95 %]"),
         *("stl10 linear top-1 (%)", "diff. [95 %]"), *("shapes mIoU (%)", "diff. [95 %]")],
        ["supervised", "2", "90.00 ± 0.00", "–", "25.00 ± 7.07", "–", "30.00 ± 7.07", "–"],
        ["mixskd", "2", "90.00 ± 0.00", "+0.00", "65.00 ± 7.07",
         found.rows[1][1].apart, "31.00 ± – (1 of 2)", "+6.00"],
    ]  # fmt: skip
    assert found.rows[1][1].apart.startswith("+40.00 [+")
    assert found.warnings == [
        "mixskd failed",
        "segmentation-shapes has no score of mixskd (seed 2)",
    ]


def test_tasks_that_would_be_called_alike_are_called_by_their_names(found):
    alike = [*found.columns[1:], Column("frozen", "shapes", "mIoU", {})]
    again = transfers(compare([*found.columns[0].runs]), alike)
    assert again.headings[2:] == ["segmentation-shapes mIoU (%)", "frozen mIoU (%)"]
    assert again.warnings[-1] == "frozen has no score of supervised (seed 1, 2), mixskd (seed 1, 2)"
    assert [row[-1].shown for row in again.rows] == ["–", "–"]


def test_people_and_programs_read_the_same(found, tmp_path):
    write(found, tmp_path / "out")
    markdown = (tmp_path / "out" / "transfer.md").read_text()
    assert markdown.splitlines()[0].count("|") == 9
    assert "To be wary of: segmentation-shapes has no score" in markdown
    assert r"65.00 $\pm$ 7.07" in (tmp_path / "out" / "transfer.tex").read_text()
    rows = [*csv.DictReader(io.StringIO(as_csv(found)))]
    assert [(row["method"], row["task"], row["score"]) for row in rows][-1] == (
        "mixskd",
        "segmentation-shapes",
        "0.31",
    )
    told = json.loads(as_json(found))
    assert [len(task["runs"]) for task in told["tasks"]] == [4, 4, 3]
    assert told["rows"][-1]["difference"] == pytest.approx(0.06)
    assert told["warnings"] == found.warnings
    assert len({len(line) for line in as_text(found).splitlines()}) == 1
    assert len(as_rich(found).columns) == 8


def test_the_report_holds_the_table_and_what_it_lacks(found, tmp_path):
    comparison = compare([*found.columns[0].runs])
    text = write_report(comparison, tmp_path / "a.html", title="A", transfers=found).read_text()
    assert text.count("31.00 ± – (1 of 2)") == 1
    assert "<li>segmentation-shapes has no score of mixskd (seed 2)</li>" in text
    assert text.count(f"{tmp_path}/masks/mixskd-1") == 2, "of the score, and of the difference"
    plain = write_report(comparison, tmp_path / "b.html", title="B").read_text()
    assert 'id="transfer"' not in plain


def test_what_the_runs_of_a_task_do_not_share_is_told(make_run):
    before = [make_run(method=method, seed=1) for method in ("supervised", "mixskd")]
    given = [("aaa", "1"), ("bbb", "2")]
    after = [
        Run.read(make_run(code, right=[True] * 4, images=32 * image, environment={"code": code}))
        for code, image in given
    ]
    columns = [Column("linear-stl10", "stl10", "linear top-1", dict(zip(before, after)))]
    found = transfers(compare(before), columns)
    assert found.rows[1][1].difference is None  # of other images
    assert found.warnings == [
        "linear-stl10: code differs: bbb in mixskd; aaa in supervised",
        "linear-stl10: fingerprint of the test images differs: 22222222 in mixskd; 11111111 in"
        " supervised",
    ]
