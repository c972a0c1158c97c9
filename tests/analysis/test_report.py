"""The figures and the page: all there, nothing fetched, nothing of the user's read as markup."""

import json
import re
from typing import Any

import numpy as np
import pytest
from markupsafe import escape
from plotly.offline import get_plotlyjs

from cohobate.analysis import curves, figures
from cohobate.analysis.comparison import compare
from cohobate.analysis.report import write_report
from cohobate.analysis.runs import Run
from cohobate.analysis.setup import Setup

EVIL = "</script><script>alert('%{x}')</script>"


@pytest.fixture
def comparison(make_run):
    runs = [make_run(seed=seed, test=0.8 + seed / 100) for seed in (1, 2)]
    runs += [
        make_run(f"<i>{seed}", "mixskd", seed, 0.9, losses=("ce", "<b>"), options={"tag": EVIL})
        for seed in (1, 2)
    ]
    return compare([*runs, make_run("other", "mixskd", 3, 0.7, losses=("ce", "<b>"))])


@pytest.fixture
def page(comparison, tmp_path):
    path = write_report(
        comparison, tmp_path / "new" / "report.html", title=EVIL, intro=EVIL, command="a <b> && c"
    )
    return path.read_text().replace(get_plotlyjs(), "PLOTLY")


def drawn(page):
    return json.loads(page.partition("const figures = ")[2].partition(";\n")[0])


def test_page_is_self_contained(page):
    assert page.count("PLOTLY") == 1
    assert not re.search(r"""(src|href)\s*=|@import|url\((?!\$)|https?://""", page)
    assert "default-src 'none'" in page


def test_every_figure_has_its_place_and_its_curves(page):
    plots = drawn(page)
    assert plots.keys() == {"differences", "scores", "cost", "learning-curves", "term-0", "term-1"}
    for name, plot in plots.items():
        assert f'<div id="{name}" class="plot">' in page
        assert plot["data"]


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
    shown = [*texts(drawn(page))]
    assert any("&lt;/script&gt;" in text for text in shown)
    assert not [text for text in shown if re.search(r"<(?!br>|extra></extra>|/extra>)", text)]


def test_numbers_tell_their_source(page, comparison):
    one, other = (str(run.path) for run in comparison.runs[:2])
    scores = "metrics.jsonl, last row, test/top1"
    assert f'data-source="{one}/{scores}\n{other}/{scores}"' in page
    assert f"{one}/environment.json, cost.parameters" in page
    assert all(" data-source=" in cell for cell in re.findall("<td[^>]*>", page))


def test_what_runs_share_is_told_once_and_the_rest_beside_each(make_run):
    runs = [
        make_run(seed=1, environment={"command": "cohobate train a.toml", "cores": 2}),
        make_run(seed=2, environment={"command": "cohobate train b.toml", "cores": 4}),
        make_run(method="kd", environment={"command": "cohobate train c.toml", "cores": 4}),
    ]
    setup = Setup.of((path.parent.name, Run.read(path)) for path in runs)
    assert setup.shared["config.toml"]["optim.lr"] == 0.1
    assert setup.shared["environment.json"]["cost.macs"] == 41_300_000
    assert [made.label for made in setup.runs] == ["supervised", "supervised", "kd"]
    assert [made.apart for made in setup.runs] == [
        {
            "config.toml": {"seed": seed, "method.name": method},
            "environment.json": {"command": f"cohobate train {file}.toml", "cores": cores},
        }
        for seed, method, file, cores in (
            (1, "supervised", "a", 2),
            (2, "supervised", "b", 4),
            (1, "kd", "c", 4),
        )
    ]


def test_findings_and_warnings_are_told(page):
    assert "mixskd and supervised have no seed in common, so no difference is given" in page
    assert "one seed only, so no spread and no interval is given: mixskd" in page


def test_a_method_keeps_its_colour_and_its_values(comparison):
    look = figures.styles(comparison)
    assert look["supervised"].colour == figures.GREY
    assert len({style.colour for style in look.values()}) == 3
    found = curves.learning_curves(comparison).to_dict()
    assert found["layout"]["yaxis"]["title"]["text"] == "validation top-1 (%)"
    means = [trace for trace in found["data"] if "name" in trace]
    assert [trace["line"]["color"] for trace in means] == [style.colour for style in look.values()]
    assert means[0]["x"] == [1, 2, 3]
    assert means[0]["y"] == pytest.approx([50, 70, 60])


def test_bands_and_seeds_of_curves_lie_within_their_axis(make_run):
    tops = [(0.1, 0.5, 0.7), (0.3, 0.6, 0.9)]
    paths = [
        longer(
            make_run(seed=seed, config={"optim": {"epochs": 8, "lr": 0.1}}), (0.01,) * 2 + top * 2
        )
        for seed, top in enumerate(tops)
    ]
    low, high = curves.learning_curves(compare(paths)).to_dict()["layout"]["yaxis"]["range"]
    spread = 100 * np.std([0.1, 0.3], ddof=1)
    assert 1 < low < 20 - spread
    assert 80 + spread < high < 100
    short = curves.learning_curves(compare([make_run(seed=9)])).to_dict()["layout"]["yaxis"]
    assert "range" not in short  # all of it is shown


def longer(path, top1):
    """A run whose file of rows is written anew, a row for each validation score."""
    file = path / "metrics.jsonl"
    row = json.loads(file.read_text().splitlines()[-1])
    rows = [row | {"epoch": epoch, "val/top1": top} for epoch, top in enumerate(top1)]
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_rows_are_as_high_as_their_labels(make_run):
    plain = make_run()

    def heights(name):
        found = compare([plain, make_run(name, method=name, test=0.9)])
        drawn: list[Any] = [figures.scores(found), figures.differences(found)]
        return [figure.layout.height for figure in drawn]

    assert heights("kd") == [64 + 2 * 60, 96 + 34]
    assert heights(" ".join(["long"] * 30)) == [64 + 2 * 160, 96 + 160]  # eight lines of 20 pixels


def test_more_methods_than_colours_are_still_told_apart(make_run):
    comparison = compare([make_run(method=f"method{number}") for number in range(14)])
    assert len(set(figures.styles(comparison).values())) == 14


def test_a_term_shows_the_methods_that_have_it(comparison):
    terms = curves.loss_terms(comparison)
    named = {
        term: len({trace["legendgroup"] for trace in figure.to_dict()["data"]})
        for term, figure in terms.items()
    }
    assert named == {"ce": 3, "<b>": 2}


def test_curves_fall_back_to_the_loss_where_no_run_has_validation(make_run, tmp_path):
    comparison = compare([make_run(method="kd", top1=(), losses=("ce", "kd"))])
    figure = curves.learning_curves(comparison).to_dict()
    assert "training loss" in figure["layout"]["yaxis"]["title"]["text"]
    assert [4.0, 2.0, 1.0] in [trace["y"] for trace in figure["data"]]
    page = write_report(comparison, tmp_path / "report.html", title="x").read_text()
    assert "The axis is cut" not in page
    assert "Without validation images" not in page


def test_runs_with_validation_show_it_and_the_others_are_named(make_run, tmp_path):
    comparison = compare([make_run(), make_run(method="kd", top1=())])
    figure = curves.learning_curves(comparison).to_dict()
    assert "validation top-1" in figure["layout"]["yaxis"]["title"]["text"]
    assert {trace["legendgroup"] for trace in figure["data"]} == {"supervised"}
    page = write_report(comparison, tmp_path / "report.html", title="x").read_text()
    assert "The axis is cut" not in page
    assert "Without validation images, and so without a curve: kd seed=1." in page


def test_a_term_that_one_seed_alone_has_is_drawn_of_that_seed(make_run):
    """As where the code named it otherwise when the other was trained."""
    comparison = compare([make_run(seed=1, losses=("ce", "kd")), make_run(seed=2)])
    found = {
        term: figure.to_dict()["data"] for term, figure in curves.loss_terms(comparison).items()
    }
    assert {term: len(traces) for term, traces in found.items()} == {
        "ce": 4,
        "kd": 3,
    }  # band, mean, seeds
    assert list(found["kd"][1]["y"]) == [2.0, 1.0, 0.5]


def test_differences_have_their_intervals(make_run):
    right = [[i % 10 != seed for i in range(200)] for seed in range(3)]
    runs = [make_run(seed=seed, right=right[seed]) for seed in range(3)]
    better = [[value or i < 100 for i, value in enumerate(each)] for each in right]
    runs += [make_run(method="<b>kd", seed=seed, right=better[seed]) for seed in range(3)]
    runs += [make_run(method="cskd", seed=seed, test=0.8) for seed in range(2)]
    comparison = compare(runs)
    drawn: Any = figures.differences(comparison)
    figure = drawn.to_dict()
    assert [*figure["layout"]["yaxis"]["ticktext"]] == ["&lt;b&gt;kd", "cskd"]
    first, second = figure["data"]
    row: Any = comparison.rows[1]
    assert first["x"][0] == pytest.approx(5)
    assert first["x"][0] + first["error_x"]["array"][0] == pytest.approx(100 * row.high)
    assert first["x"][0] - first["error_x"]["arrayminus"][0] == pytest.approx(100 * row.low)
    assert (second["x"][0], second["error_x"]["visible"]) == (pytest.approx(-10), False)
    assert second["marker"]["symbol"] == "diamond-open"
    assert figures.differences(compare(runs[:3])) is None


def test_front_is_what_nothing_beats():
    random = np.random.default_rng(0)
    points = [(float(a), float(b)) for a, b in random.integers(0, 12, (60, 2))]
    beaten = {
        (a, b)
        for a, b in points
        if any((c <= a and d >= b) and (c, d) != (a, b) for c, d in points)
    }
    assert figures.front(points) == sorted({*points} - beaten)


def test_costs_are_of_the_whole_training(make_run):

    comparison = compare([make_run(), make_run(method="kd")])
    drawn: Any = figures.accuracy_and_cost(comparison)
    figure = drawn.to_dict()
    costs = {trace["customdata"][0][0]: trace["x"][0] for trace in figure["data"][1:]}
    spent = comparison.runs[0].environment["cost"]["step_macs"] * 64 * 60 / 1e12  # 60 steps of 64
    assert costs == {"supervised": pytest.approx(spent), "kd": pytest.approx(spent)}
    unknown = {"cost": {"parameters": 1, "trained_parameters": 1}}
    other = make_run(method="cskd", environment=unknown)
    runs = [*(run.path for run in comparison.runs), other]
    assert figures.accuracy_and_cost(compare(runs)) is None


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (2.0, 7.8, [2, 3, 5, 7, 10]),
        (0.9, 1.1, [0.7, 1, 1.5]),
        (0.17, 4.2, [0.1, 0.2, 0.5, 1, 2, 5]),
        (12, 900, [10, 30, 100, 300, 1000]),
        (3e-3, 5e4, [1e-3, 1e-2, 0.1, 1, 10, 100, 1000, 1e4, 1e5]),
    ],
)
def test_ticks_are_round_and_reach_around(low, high, expected):
    assert figures.ticks(low, high) == pytest.approx(expected)
