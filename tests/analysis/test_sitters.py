"""Runs that are looked at together: grouped for their curves, and told apart by their looks."""

import shutil

import pytest

from cohobate.analysis.figures import styles
from cohobate.analysis.runs import Run
from cohobate.sitters import LOOKS, Sitter, compared, open_runs, run_styles
from cohobate.trained import reopen


def sitters(*paths):
    return [Sitter(str(path), Run.read(path)) for path in paths]


def test_runs_that_are_not_done_or_there_twice_are_told(make_run):
    one, other = make_run("a", "kd", 1), make_run("b", "kd", 2)
    twin, undone = make_run("c", "kd", 2), make_run("d", test=None)
    comparison, notes = compared(sitters(one, other, twin, undone))
    assert comparison is not None
    assert [[run.path for run in group.runs] for group in comparison.groups] == [[one, other]]
    assert notes == [
        f"{twin} is the run of {other} once more, and left out of curves and comparison",
    ]
    assert compared(sitters(undone))[0] is None
    broken = make_run("e", test=float("inf"))
    comparison, (note,) = compared(sitters(broken))
    assert comparison is None
    assert "no finished run to compare" in note and "test/top1 is inf" in note
    _, notes = open_runs([one, undone], "test", [])
    assert [note for note in notes if note.startswith(f"{undone} is not done: 3 of 3 epochs")]
    assert not [note for note in notes if note.startswith(f"{one} is not done")]


def test_runs_on_other_images_are_not_the_same_run(make_run):
    """Where a data set lies is no setting: what lies there is told by the images' fingerprints."""
    right = [True, True, False]
    one = make_run("a", right=right, environment={"images": {"train": "1" * 8}})
    tested = make_run("b", right=right, images="fedcba98")
    trained = make_run("c", right=right, environment={"images": {"train": "2" * 8}})
    comparison, notes = compared(sitters(one, tested, trained))
    assert comparison is not None
    shown = {run.path for run in comparison.runs}
    assert shown >= {one, tested}
    assert trained not in shown
    assert notes == [
        f"{trained} differs from {one} in its training images alone, and is left out of curves and comparison"
    ]


def test_a_run_looks_like_its_own_curve_and_like_no_other_run(make_run):
    paths = [make_run("a"), make_run("b", "kd", 1), make_run("c", "kd", 2), make_run("d", "ofd")]
    every = sitters(*paths)
    comparison, _ = compared(every)
    assert comparison is not None
    looks, curves = run_styles(every, comparison), styles(comparison)
    assert looks[str(paths[0])] == curves["supervised"]
    assert looks[str(paths[3])] == curves["ofd"]
    assert len(set(looks.values())) == 4
    shades = {looks[str(path)].colour for path in paths[1:3]}
    assert shades == {curves["kd"].colour}  # two strokes of one colour
    crowd = sitters(*paths, *(make_run(f"s{seed}", "kd", seed) for seed in (3, 4)))
    looks = run_styles(crowd, compared(crowd)[0])  # four seeds, and three strokes
    assert len(set(looks.values())) == 6
    many = [Sitter(str(number), every[0].run) for number in range(2 * LOOKS)]
    assert len(run_styles(many, None)) == 2 * LOOKS


def test_folders_without_weights_are_told(make_run):
    path = make_run("a")
    (only,), (note,) = open_runs([path, path], "test", [])
    assert only.trained is None
    assert note.startswith(f"{path} holds no trained network")
    with pytest.raises(ValueError, match="give RUN_FOLDER"):
        open_runs([], "test", [])


def test_a_damaged_method_is_named(taught, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(taught / "student", damaged)
    (damaged / "method.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"method\.safetensors is damaged"):
        reopen(damaged).method()
    (only,), (note,) = open_runs([damaged], "test", [])
    assert only.method is not None
    assert note.endswith(f"of {damaged}, the network alone is looked at")
