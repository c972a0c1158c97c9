"""Figures and page of an analysis, from plain numbers: what is drawn is what was measured."""

import json
import re

import pytest
from markupsafe import escape
from matplotlib.colors import to_hex
from plotly.offline import get_plotlyjs

from cohobate.analysis import gallery, prints
from cohobate.analysis.calibration import Reliability
from cohobate.analysis.figures import PALETTE
from cohobate.analysis.portrait import Analysis, Histogram, Portrait, columns
from cohobate.analysis.report import write_analysis
from cohobate.analysis.robustness import Robustness

EVIL = "</script><script>alert('$%{x}$')</script>"
BARS = Reliability([0, 3, 1], [None, 0.5, 0.9], [None, 1 / 3, 1.0])
SPREAD = Histogram([0.0, 0.5, 1.0], [0.25, 0.75], 0.6)


def portrait(label, fgsm, scatter=0.4):
    return Portrait(
        label=label,
        folder=f"out/{label}",
        top1=0.5,
        nll=1.25,
        brier=0.625,
        ece=BARS.ece,
        scatter=scatter,
        cosine=-0.75,
        norms=SPREAD,
        entropy=[SPREAD, SPREAD],
        confidence=[SPREAD, SPREAD],
        reliability=BARS,
        points=[(0.0, 1.0, 0), (2.0, 3.0, 1), (4.0, 5.0, 1)],
        robustness=Robustness([0, 8 / 255], fgsm, [share / 2 for share in fgsm]),
    )


@pytest.fixture
def analysis():
    return Analysis(
        data="<i>digits",
        split="test",
        images=4,
        attacked=4,
        mapped=3,
        total=10,
        classes=["ant", EVIL],
        temperatures=[1, 4],
        pgd_steps=10,
        portraits=[portrait("kd", [0.5, 0.25]), portrait(EVIL, [1.0, 0.75], None)],
    )


@pytest.fixture
def page(analysis, tmp_path):
    path = write_analysis(analysis, tmp_path / "new" / "report.html", title=EVIL, command="a <b>")
    return path.read_text().replace(get_plotlyjs(), "PLOTLY")


def drawn(page):
    return json.loads(page.partition("const figures = ")[2].partition(";\n")[0])


def test_reliability_shows_each_bin_that_holds_images(analysis):
    figure = gallery.reliability(analysis.portraits[0], gallery.looks(["kd"])["kd"]).to_dict()
    accuracy, gap, images, _ = figure["data"]
    assert accuracy["x"] == gap["x"] == images["x"] == pytest.approx([0.5, 5 / 6])
    assert accuracy["y"] == [1 / 3, 1.0]
    assert gap["base"] == [1 / 3, 0.9]
    assert gap["y"] == pytest.approx([1 / 6, 0.1])
    assert images["y"] == [75, 25]
    assert accuracy["customdata"] == [[3, 0.5, 1 / 3], [1, 0.9, 1.0]]


def test_a_histogram_is_the_outline_of_its_bars(analysis):
    line = gallery.entropies(analysis, 1).to_dict()["data"][0]
    assert list(zip(line["x"], line["y"])) == [(0, 0), (0, 25), (0.5, 75), (1, 0)]
    assert line["line"]["shape"] == "hv"
    density = gallery.norms(analysis).to_dict()["data"][0]
    assert density["y"] == [0, 0.5, 1.5, 0]  # shares over bins half as wide as 1


def test_a_class_has_one_colour_on_all_maps(analysis):
    maps = [gallery.class_map(each, analysis.classes).to_dict() for each in analysis.portraits]
    colours = [[trace["marker"]["color"] for trace in figure["data"]] for figure in maps]
    assert colours[0] == colours[1]
    assert len(set(colours[0])) == 2
    assert maps[0]["data"][1]["x"] == [2.0, 4.0]
    looks = gallery.dots([str(number) for number in range(40)])
    assert len(set(looks.values())) == 40


def test_attacks_are_told_apart_by_their_lines_and_runs_by_colour(analysis):
    lines = gallery.robustness(analysis).to_dict()["data"]
    told = [(line["line"]["color"], line["line"]["dash"], line["y"]) for line in lines]
    assert told == [
        (PALETTE[0], "solid", [50, 25]),
        (PALETTE[0], "dash", [25, 12.5]),
        (PALETTE[1], "solid", [100, 75]),
        (PALETTE[1], "dash", [50, 37.5]),
    ]
    assert lines[0]["x"] == [0, 8]


def test_the_table_has_every_temperature(analysis):
    table = columns(analysis)
    shown = {column.heading: column.show(analysis.portraits[0]) for column in table}
    assert shown == {
        "top-1 (%)": "50.00",
        "NLL": "1.2500",
        "Brier": "0.6250",
        "ECE (%)": "15.00",
        "scatter": "0.400",
        "cosine": "−0.750",
        "norm": "0.60",
        "entropy T=1": "0.600",
        "max p T=1": "0.600",
        "entropy T=4": "0.600",
        "max p T=4": "0.600",
    }
    assert {column.heading: column.show(analysis.portraits[1]) for column in table}[
        "scatter"
    ] == "–"


def test_page_is_self_contained(page):
    assert page.count("PLOTLY") == 1
    assert not re.search(r"""(src|href)\s*=|@import|url\(|https?://""", page)
    assert "default-src 'none'" in page


def test_every_figure_has_its_place(page):
    plots = drawn(page)
    assert len(plots) == 10
    assert sorted(re.findall(r'<div id="([^"]+)" class="plot">', page)) == sorted(plots)
    assert all(plot["data"] for plot in plots.values())


def texts(node, key=""):
    """Every string of a figure that Plotly draws."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from texts(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from texts(child)
    elif isinstance(node, str) and key != "legendgroup":
        yield node


def test_nothing_named_by_a_user_is_markup(page):
    assert page.count("<script>") == page.count("</script>") == 3
    assert page.count(escape(EVIL)) > 3
    assert "<i>digits" not in page
    shown = [*texts(drawn(page))]
    assert any("&lt;/script&gt;" in text for text in shown)
    assert not [text for text in shown if re.search(r"<(?!br>|extra></extra>|/extra>)", text)]
    assert not [text for text in shown if "extra>" in text and "alert" in text]  # a template


def test_the_files_hold_the_same_numbers(analysis, tmp_path):
    axes = prints.robustness(analysis).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in curves] == [[50, 25], [25, 12.5], [100, 75], [50, 37.5]]  # fmt: skip
    assert [to_hex(line.get_color()).upper() for line in curves] == [PALETTE[0]] * 2 + [PALETTE[1]] * 2  # fmt: skip
    assert [line.get_linestyle() for line in curves] == ["-", "--"] * 2
    bars = prints.reliability(analysis).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([1 / 3, 1 / 6, 1.0, 0.1])
    for path in prints.write_figures(analysis, tmp_path / "figures"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_names_are_no_mathematics_to_matplotlib(analysis):
    assert prints.plain("a$x$") == r"a\$x\$"
    assert not prints.plain("_hidden").startswith("_")
    assert max(map(len, prints.plain("word " * 40, 20).splitlines())) <= 20
