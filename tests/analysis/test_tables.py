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
method      seeds  epochs     top-1 (%)   diff.  best val (%)  last val (%)  params (M)  trained (M)  cost  step (GMAC)  images/s  minutes
supervised      2       3  81.00 ± 1.41       –         70.00         60.00        0.28         0.28  2.00        15.36       200      1.5
kd              1       3     82.00 ± –   +2.00         70.00         60.00        0.28         0.28  2.00        15.36       200      1.5
mixskd          1       3     70.00 ± –  −10.00             –             –       11.22         0.28     –            –       200      1.5"""


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


def test_rich_shows_all_columns_where_there_is_room(comparison):
    def shown(width: int) -> str:
        console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
        console.print(tables.as_rich(comparison, width))
        text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        assert max(map(len, text.splitlines())) <= width
        assert "81.00 ± 1.41" in text
        return text

    assert "images/s" in shown(140)
    assert "images/s" not in shown(80)
    assert "minutes" in shown(80)


def test_markdown_escapes_what_it_reads_as_markup(comparison):
    lines = tables.as_markdown(comparison).splitlines()
    assert lines[0].startswith("| method | seeds | epochs | top-1 (%) |")
    assert lines[2] == "| supervised | 2 | 3 | 81.00 ± 1.41 | – | 70.00 | 60.00 | 0.28 | 0.28 | 2.00 | 15.36 | 200 | 1.5 |"  # fmt: skip
    assert "&lt;b>\\|[red]" in lines[3]


def test_programs_get_raw_numbers(comparison):
    table = json.loads(tables.as_json(comparison))
    assert table["warnings"] == comparison.warnings
    rows = table["rows"]
    assert rows[0]["top1"] == pytest.approx(0.81)
    assert rows[1]["top1_sd"] is None
    again = list(csv.DictReader(io.StringIO(tables.as_csv(comparison))))
    assert [row["label"] for row in again] == [row["label"] for row in rows]
    assert float(again[2]["difference"]) == pytest.approx(-0.01)
    assert again[2]["best_val"] == ""


def test_a_column_without_a_value_is_not_shown(make_run):
    plain = tables.as_text(compare([make_run("a")])).splitlines()[0]
    assert "interval" not in plain and "oracle" not in plain and "MiB" not in plain
    right = [True, False, True]
    runs = [
        make_run(f"{method}{seed}", method, seed, right=right, last={"oracle/top1": 0.9})
        for method in ("supervised", "kd")
        for seed in (1, 2)
    ]
    head, *_, last = tables.as_text(compare(runs)).splitlines()
    assert "oracle (%)" in head
    assert "+0.00  [+0.00, +0.00]" in last


def test_latex_is_escaped(make_run):
    names = r"a_b & 50 % #1 {x} $y$ \input ~ ^ <|>"
    runs = [make_run("a", "kd", 1, 0.8), make_run("b", "kd", 1, 0.7, options={"tag": names})]
    text = tables.as_latex(compare(runs))
    told = [line for line in text.splitlines() if line.startswith("% ")]
    assert told[0].startswith("% no plain run of supervised on the same images")
    first, *_, last = text.splitlines()[len(told) :]
    assert first == r"\begin{tabular}{l" + "r" * 11 + "}"
    assert last == r"\end{tabular}"
    assert r"top-1 (\%)" in text and r"$\pm$" in text
    escaped = (
        r"a\_b \& 50 \% \#1 \{x\} \$y\$ \textbackslash{}input \textasciitilde{}"
        r" \textasciicircum{} \textless{}\textbar{}\textgreater{}"
    )
    assert f"kd tag={escaped} & 1 &" in text
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {11}


def test_files_of_a_comparison(comparison, tmp_path):
    tables.write(comparison, tmp_path)
    assert {path.name for path in tmp_path.glob("comparison.*")} == {
        f"comparison.{suffix}" for suffix in ("md", "csv", "tex", "json")
    }
    markdown = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "- To be wary of: one seed only" in markdown
