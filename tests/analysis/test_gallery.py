"""Figures and page of an analysis, from plain numbers: what is drawn is what was measured."""

import json
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from string import Formatter

import pytest
import torch
from markupsafe import escape
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

from cohobate.analysis import gallery, matrices, paper, plates, prints
from cohobate.analysis.attention import Look, Looked
from cohobate.analysis.calibration import Reliability
from cohobate.analysis.comparison import compare
from cohobate.analysis.confusion import Confusion, Pair
from cohobate.analysis.figures import PALETTE, looks
from cohobate.analysis.heads import HeadScore
from cohobate.analysis.mixtures import Mixed, Opinion
from cohobate.analysis.pictures import picture, sheet
from cohobate.analysis.portrait import Analysis, Histogram, Portrait, columns
from cohobate.analysis.report import write_analysis
from cohobate.analysis.robustness import Robustness
from cohobate.analysis.runs import Run
from cohobate.analysis.similarity import Similarity
from cohobate.analysis.softness import Softness
from cohobate.scene import SECTIONS

EVIL = "</script><script>alert('$%{x}$')</script>"
BARS = Reliability([0, 3, 1], [None, 0.5, 0.9], [None, 1 / 3, 1.0])
SPREAD = Histogram([0.0, 0.5, 1.0], [0.25, 0.75], 0.6)
NAMES = ["ant", EVIL, "cat"]
IMAGE = torch.rand(3, 8, 8)
THUMB = picture(IMAGE, 16)
MIXED = Mixed(
    rows=(0, 1),
    classes=(0, 1),
    weight=0.25,
    opinions=[Opinion("exit 1", [1, 0], [0.7, 0.2]), Opinion("network", [2, 1], [0.6, 0.3])],
    pictures=[THUMB] * 3,
)
LOOKED = Looked(
    0, 1, THUMB, [Look("network", 0.5, [THUMB] * 2, THUMB), Look("teacher", 0.9, [THUMB], "")]
)
SOFT = Softness(4, 0.9, 0.5, 0.6, [1, 4], [0.5, 0.25], [0.1, 0.75], [0.2, 1.0], "resnet18")


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
        confusion=Confusion([[3, 1, 0], [0, 0, 0], [0, 2, 2]], [Pair(2, 1, 2, 0.5, [5], [THUMB])]),
        heads=[HeadScore("head 1", 0.25, 0.125), HeadScore("network", 0.5)],
        mixtures=[MIXED],
        looked=[LOOKED],
        softness=SOFT,
    )


@pytest.fixture
def analysis():
    return Analysis(
        data="<i>digits",
        split="test",
        only=[*SECTIONS],
        styles=looks(["kd", EVIL]),
        temperatures=[1, 4],
        pgd_steps=10,
        images=4,
        drawn=4,
        mapped=3,
        names=NAMES,
        classes=["ant", EVIL],
        portraits=[portrait("kd", [0.5, 0.25]), portrait(EVIL, [1.0, 0.75], None)],
        similarities=[Similarity("kd", EVIL, [[1.0, None], [0.25, 0.5]])],
        sheet=sheet(torch.rand(3, 3, 8, 8)),
        left_out=[f"nothing of {EVIL}"],
    )


@pytest.fixture
def page(analysis, make_run, tmp_path):
    """With curves and settings of two runs of one method, and of a third with a name that is markup."""
    paths = [make_run("a", "kd", 1), make_run("b", "kd", 2), make_run(EVIL.replace("/", ""), "ofd")]
    runs = list(zip(["kd", "kd", EVIL], map(Run.read, paths)))
    path = write_analysis(
        analysis,
        tmp_path / "new" / "report.html",
        title=EVIL,
        command="a <b>",
        comparison=compare(paths),
        runs=runs,
    )
    return path.read_text().replace(get_plotlyjs(), "PLOTLY")


def drawn(page):
    return json.loads(page.partition("const figures = ")[2].partition(";\n")[0])


def test_reliability_shows_each_bin_that_holds_images(analysis):
    figure = gallery.reliability(analysis.portraits[0], looks(["kd"])["kd"]).to_dict()
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
    looks = [*gallery.dots([str(number) for number in range(42)]).values()]
    assert len(set(looks)) == 42
    assert {dot.colour for dot in looks} == {*PALETTE}
    for one, other in pairwise(looks):
        assert one.symbol != other.symbol and one.colour != other.colour
    assert prints.MARKERS.keys() == gallery.SYMBOLS.keys()


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
    data = re.compile(r"data:image/jpeg;base64,[\w+/=]+")
    assert len(data.findall(page)) == 2 * (1 + 3) + 1 + 1 + 2 * (
        2 + 1 + 1
    )  # pairs, mixtures, map, maps
    rest = data.sub("PICTURE", page).replace('src="PICTURE"', "")
    assert not re.search(r"""(src|href)\s*=|@import|url\(|https?://""", rest)
    assert "default-src 'none'" in page


def test_every_figure_has_its_place(page):
    plots = drawn(page)
    assert len(plots) == sum(
        {
            "rest": 10,
            "confusion": 2,
            "heads": 2,
            "CKA": 1,
            "temperature": 3,
            "curves": 2,
            "rows": 2,
        }.values()
    )
    assert sorted(re.findall(r'<div id="([^"]+)" class="plot">', page)) == sorted(plots)
    assert all(plot["data"] for plot in plots.values())


def test_every_figure_tells_where_its_numbers_are(page, analysis):
    """Where a key of numbers.json is named, it is there."""
    plots = re.findall(
        r'<div data-source="([^"]+)">\s*(?:<h3>[^<]*</h3>\s*)?<div id="([^"]+)"', page
    )
    assert {id for _, id in plots} == {*drawn(page)}
    sources = {unescape(source) for source in re.findall(r'data-source="(numbers[^"]+)', page)}
    assert "numbers.json, portraits[1].looked[0].looks[1].share" in sources
    assert "numbers.json, similarities[0].values" in sources
    for source in sources:
        key = source.partition("\n")[0].removeprefix("numbers.json, ").replace("…", "0")
        for one in key.partition(",")[0].split(" and "):
            start = "portraits[0]" if one.startswith(".") else ""
            Formatter().get_field(f"0.{start}{one}", (analysis,), {})


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
    assert paper.plain("a$x$") == r"a\$x\$"
    assert not paper.plain("_hidden").startswith("_")
    assert max(map(len, paper.plain("word " * 40, 20).splitlines())) <= 20


def test_confusion_shows_shares_of_rows_and_counts(analysis):
    trace = matrices.confusion(analysis.portraits[0], NAMES).to_dict()["data"][0]
    assert trace["z"] == [[75, 25, 0], [None, None, None], [0, 50, 50]]
    assert trace["text"] == [[3, 1, ""], ["", "", ""], ["", 2, 2]]
    assert trace["customdata"] == [[3, 1, 0], [0, 0, 0], [0, 2, 2]]  # told under the pointer
    assert trace["x"][0] == trace["y"][0] == "ant"
    many = [f"class {number}" for number in range(30)]
    counts = [[int(a == b) for a in range(30)] for b in range(30)]
    large = replace(analysis.portraits[0], confusion=Confusion(counts, []))
    figure = matrices.confusion(large, many).to_dict()
    assert figure["layout"]["xaxis"]["showticklabels"] is False
    assert figure["data"][0]["x"][29] == "class 29"  # on hover


def test_names_with_quotation_marks_are_shown_with_them(analysis):
    """Plotly knows no `&quot;`."""
    names = ['a&b "q"', "it's", "<i>"]
    axis = matrices.confusion(analysis.portraits[0], names).layout.xaxis
    assert list(axis.ticktext) == ['a&amp;b "q"', "it's", "&lt;i&gt;"]
    assert list(axis.tickvals) == list(axis.ticktext)


def test_a_page_of_too_many_classes_has_no_matrix(analysis):
    many = replace(analysis, names=["x"] * (matrices.MOST + 1))
    assert not [name for name in gallery.figures(many) if name.startswith("confusion")]


def test_heads_are_bars_and_their_rotations_diamonds(analysis):
    figure = gallery.heads(analysis.portraits[0], looks(["kd"])["kd"]).to_dict()
    bars, numbers, diamonds = figure["data"]
    assert list(zip(bars["y"], bars["x"])) == [("head 1", 25), ("network", 50)]
    assert list(zip(numbers["y"], numbers["text"])) == [("head 1", "25.0"), ("network", "50.0")]
    assert min(numbers["x"]) > 100  # where no diamond is
    assert list(zip(diamonds["y"], diamonds["x"])) == [("head 1", 12.5)]


def test_similarity_and_temperature_are_tables_of_their_numbers(analysis):
    cells = matrices.similarity(analysis.similarities[0]).to_dict()["data"][0]
    assert cells["z"] == [[1.0, None], [0.25, 0.5]]
    assert cells["text"] == [["1.00", "–"], ["0.25", "0.50"]]
    tables = matrices.softness(analysis.portraits)
    for name, expected in zip(tables, (SOFT.kl, SOFT.teacher, SOFT.student)):
        trace = tables[name].to_dict()["data"][0]
        assert trace["z"] == [expected, expected]
        assert trace["x"] == ["1", "4"]
        assert trace["y"][0].endswith("of resnet18")


def test_what_is_not_wanted_is_not_drawn(analysis, tmp_path):
    bare = replace(analysis, only=["confusion"], similarities=[], sheet=None, portraits=[
        replace(each, points=[], robustness=None, heads=[], mixtures=[], looked=[], softness=None)
        for each in analysis.portraits
    ])  # fmt: skip
    assert list(gallery.figures(bare)) == ["confusion-0", "confusion-1"]
    names = [path.stem for path in prints.write_figures(bare, tmp_path)]
    assert names == ["confusion", "confused-0", "confused-1"]
    (tmp_path / "mine.png").write_bytes(prints.write_figures(bare, tmp_path)[0].read_bytes()[:20])
    none = replace(bare, only=[])
    assert prints.write_figures(none, tmp_path) == []  # and what was there before is gone
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
    page = write_analysis(bare, tmp_path / "report.html", title="x").read_text()
    assert "Which classes are mistaken for which?" in page
    for heading in (
        "How do the features lie?",
        "Where do they look?",
        "How did they learn?",
        "Which is better, and at what cost?",
    ):
        assert heading not in page


def test_without_networks_there_are_curves_and_settings(make_run, tmp_path):
    path = make_run("a", "kd", 1)
    empty = Analysis("digits", "test", [*SECTIONS], looks(["kd"]), [1], 10, left_out=["no weights"])
    given = {"comparison": compare([path]), "runs": [("kd", Run.read(path))]}
    page = write_analysis(empty, tmp_path / "report.html", title="x", **given).read_text()
    assert [*drawn(page.replace(get_plotlyjs(), ""))] == ["learning-curves", "term-0"]
    assert "no weights" in page
    assert "cohobate train run.toml" in page
    assert "cifar_resnet8" in page
    assert "AMD EPYC 7763" in page


def test_the_pictures_are_files_too(analysis):
    attention = plates.attention(analysis.portraits[0], NAMES)
    shown = [axes for axes in attention.axes if axes.images]
    assert len(shown) == (1 + 2 + 1) + (1 + 1)  # image, stages and Grad-CAM; the teacher has none
    assert (
        len([axes for axes in plates.mixtures(analysis.portraits[0], NAMES).axes if axes.images])
        == 3
    )
    bars = plates.heads(analysis).axes[0].patches
    assert [bar.get_width() for bar in bars] == [25, 50]
    texts = [text.get_text() for text in plates.similarity(analysis).axes[0].texts]
    assert texts == ["1.00", "–", "0.25", "0.50"]


def test_a_figure_of_very_many_panels_is_written_less_finely():
    """Matplotlib writes no file of 2^16 pixels or more."""
    assert paper.dots_per_inch(Figure((9.6, 3.2))) == paper.DOTS_PER_INCH
    tall = Figure((9.6, 3.2 * 133))
    assert 64_000 < 3.2 * 133 * paper.dots_per_inch(tall) < 2**16


def test_runs_over_two_settings_are_a_grid(make_run, tmp_path):
    """Teachers across, temperatures down, as MIX-KD has it: of stored runs, without any weights."""
    paths = [
        make_run(f"{teacher}{temperature}", "kd", 1, test, options={"teacher": teacher, "temperature": temperature})
        for teacher, temperature, test in (("a", 1, 0.5), ("a", 4, 0.6), ("b", 1, 0.7), ("b", 4, 0.8))
    ]  # fmt: skip
    empty = Analysis("digits", "test", ["curves"], looks(["kd"] * 4), [1], 10)
    page = write_analysis(empty, tmp_path / "report.html", title="x", comparison=compare(paths))
    grid = drawn(page.read_text().replace(get_plotlyjs(), ""))["sweep-0"]["data"][0]
    assert (grid["x"], grid["y"]) == (["a", "b"], ["1", "4"])
    assert grid["z"] == [[50, 70], [60, 80]]
