"""Each way to print a comparison, against its whole text."""

import csv
import io
import json

import pytest
from rich.console import Console

from cohobate.analysis import tables
from cohobate.analysis.comparison import compare


@pytest.fixture
def comparison(make_run):
    return compare([
        make_run(seed=1, test=0.80),
        make_run(seed=2, test=0.82),
        make_run(method="mixskd", options={"a": 1}, seed=1, test=0.79, top1=()),
        make_run("x", "mixskd", options={"a": "<b>|[red]" + "long" * 30}, test=0.9),
    ])  # fmt: skip


TEXT = """\
method      seeds     top-1 (%)   diff.  best val (%)  last val (%)  params (M)  trained (M)  cost  images/s  minutes
supervised      2  81.00 ± 1.41       –         70.00         60.00        0.28         0.28  2.00       200      1.5
kd              1     82.00 ± –   +1.00         70.00         60.00        0.28         0.28  2.00       200      1.5
mixskd          1     70.00 ± –  −11.00             –             –       11.22         0.28     –       200      1.5"""


def test_text_is_aligned_in_these_columns(make_run):
    cost = {"cost": {"parameters": 11_220_132, "trained_parameters": 278_324}}
    runs = [
        make_run(seed=1, test=0.80),
        make_run(seed=2, test=0.82),
        make_run(method="mixskd", test=0.70, top1=(), environment=cost),
        make_run(method="kd", test=0.82),
    ]
    assert tables.as_text(compare(runs)) == TEXT


def test_text_is_never_wrapped(comparison):
    lines = tables.as_text(comparison).splitlines()
    assert len(lines) == 4
    assert "mixskd a=<b>|[red]" + "long" * 30 in lines[2]
    assert len({len(line) for line in lines}) == 1


def test_rich_keeps_numbers_whole_in_a_narrow_terminal(comparison):
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(tables.as_rich(comparison))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "81.00 ± 1.41" in text
    assert "minutes" in text
    assert "[red]" in text.replace("\n", "")
    assert max(map(len, text.splitlines())) <= 80


def test_markdown_escapes_what_it_reads_as_markup(comparison):
    lines = tables.as_markdown(comparison).splitlines()
    assert lines[0].startswith("| method | seeds | top-1 (%) |")
    assert lines[2] == "| supervised | 2 | 81.00 ± 1.41 | – | 70.00 | 60.00 | 0.28 | 0.28 | 2.00 | 200 | 1.5 |"  # fmt: skip
    assert "&lt;b>\\|[red]" in lines[3]


def test_programs_get_raw_numbers(comparison):
    rows = json.loads(tables.as_json(comparison))
    assert rows[0]["top1"] == pytest.approx(0.81)
    assert rows[1]["top1_sd"] is None
    again = list(csv.DictReader(io.StringIO(tables.as_csv(comparison))))
    assert [row["label"] for row in again] == [row["label"] for row in rows]
    assert float(again[2]["difference"]) == pytest.approx(-0.02)
    assert again[2]["best_val"] == ""
