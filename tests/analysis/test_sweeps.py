"""A curve over one setting, a heat map over two or more: which numbers stand where."""

from typing import Any

import pytest

from cohobate.analysis import report, sweeps
from cohobate.analysis.comparison import compare


@pytest.fixture
def grid(make_run):
    """A comparison of runs of `kd` over settings of the method and the network."""

    def make(points, seeds=1):
        paths = []
        for number, (arch, options, score) in enumerate(points):
            for seed in range(seeds):
                network = {"model": {"arch": arch}}
                name = f"kd{number}/seed{seed}"
                test = score + 0.01 * seed
                paths.append(make_run(name, "kd", seed, test, options=options, config=network))
        return compare(paths)

    return make


def test_heat_map_has_each_score_in_its_place(grid):
    archs, teachers, heats = ("r8", "r20", "r110"), ("a/r20.toml", "a/r8.toml"), (4.0, 1.0)
    score = {
        (a, t, h): 0.5 + 0.1 * i + 0.02 * j + 0.001 * k
        for i, a in enumerate(archs)
        for j, t in enumerate(teachers)
        for k, h in enumerate(heats)
    }
    found = grid([(a, {"teacher": t, "temperature": h}, s) for (a, t, h), s in score.items()])
    figure: Any = sweeps.figures(found)["kd"]
    assert [note.text for note in figure.layout.annotations] == [
        "temperature = 1.0",
        "temperature = 4.0",
    ]
    for panel, heat in zip(figure.data, (1.0, 4.0), strict=True):
        assert list(panel.x) == ["r8", "r20", "r110"]
        assert list(panel.y) == ["a/r8", "a/r20"]
        for teacher, line in zip(("a/r8.toml", "a/r20.toml"), panel.z, strict=True):
            assert line == pytest.approx([100 * score[a, teacher, heat] for a in archs])
        assert (panel.zmin, panel.zmax) == (50, pytest.approx(72.1))  # one scale for all panels


def test_teachers_of_other_networks_are_two_columns_though_their_last_names_are_alike(grid):
    teachers = [f"out/digits/{arch}/supervised/seed0" for arch in ("resnet20", "resnet56")]
    score = {(t, h): 0.5 + 0.1 * i + 0.01 * h for i, t in enumerate(teachers) for h in (1.0, 4.0)}
    found = grid([("r8", {"teacher": t, "temperature": h}, s) for (t, h), s in score.items()])
    (panel,) = sweeps.figures(found)["kd"].data
    assert list(panel.x) == ["resnet20/supervised/seed0", "resnet56/supervised/seed0"]
    for heat, line in zip((1.0, 4.0), panel.z, strict=True):
        assert line == pytest.approx([100 * score[teacher, heat] for teacher in teachers])


def test_lists_are_settings_to_sweep_over_too(grid):
    augments, alphas = {"none": [], "crop, flip": ["crop", "flip"]}, (0.1, 0.2)
    score = {(name, a): 0.05 * len(name) + a for name in augments for a in alphas}
    found = grid([("r8", {"augment": augments[n], "alpha": a}, s) for (n, a), s in score.items()])
    (panel,) = sweeps.figures(found)["kd"].data
    assert (list(panel.x), list(panel.y)) == (["none", "crop, flip"], ["0.1", "0.2"])
    for alpha, line in zip(alphas, panel.z, strict=True):
        assert line == pytest.approx([100 * score[name, alpha] for name in augments])


def test_curve_over_one_number(grid):
    found = grid(
        [("r8", {"alpha": a}, s) for a, s in ((0.9, 0.7), (0.1, 0.5), (0.4, 0.6))], seeds=2
    )
    figure: Any = sweeps.figures(found)["kd"]
    (line,) = figure.data
    assert list(line.x) == [0.1, 0.4, 0.9]
    assert list(line.y) == pytest.approx([50.5, 60.5, 70.5])
    assert list(line.error_y.array) == pytest.approx([100 * 0.01 / 2**0.5] * 3)


def test_no_figure_without_a_grid(grid, make_run):
    words = grid([("r8", {"teacher": t}, 0.5) for t in ("a", "b")])
    assert sweeps.figures(words) == {}  # a single setting that is no number: the table tells all
    holes = [("r8", {"alpha": 0.1, "gamma": 1.0}, 0.5), ("r8", {"alpha": 0.2, "gamma": 2.0}, 0.6)]
    assert sweeps.figures(compare([*(run.path for run in words.runs)])) == {}
    more = [make_run(f"hole{i}", "kd", options=o, test=s) for i, (_, o, s) in enumerate(holes)]
    assert sweeps.figures(compare(more)) == {}  # two of four combinations


def test_report_shows_the_heat_map(grid, tmp_path):
    points = [(a, {"alpha": v}, 0.5) for a in ("<r8>", "r20") for v in (0.1, 0.2)]
    page = report.write_report(grid(points), tmp_path / "report.html", title="sweep")
    text = page.read_text(encoding="utf-8")
    assert 'id="sweep-0"' in text
    assert "kd: test top-1 (%) at the last epoch over the settings that were varied;" in text
    assert "<r8>" not in text
