"""The analysis of trained runs, through the command line: what it writes, and every mistake in a sentence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cohobate import analyse, scene, sitters
from cohobate.analysis import matrices
from cohobate.analysis.embedding import outputs
from cohobate.analysis.runs import Run
from cohobate.config import load
from cohobate.data.loader import EvalLoader
from cohobate.defaults import resolve
from cohobate.display import Bar, Silent
from cohobate.methods import METHODS
from cohobate.models import Classifier
from cohobate.train import train
from cohobate.trained import reopen
from places import SMOKE

FAST = ["optim.epochs=1", "data.per_class=8", "data.batch_size=16", "compile=false"]
RUNS = {
    "plain": ["seed=1"],
    "again": ["seed=2"],
    "mixup": ["seed=1", "method.name=mixup"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a run of each of `RUNS`."""
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in RUNS.items():
        config, _ = resolve(load(SMOKE, [*FAST, *settings]))
        train(config, folder / name, devices=1, display=Silent())
    return folder


def arrays(root, images, labels, classes):
    root.mkdir()
    for name in ("train", "test"):
        np.savez(root / f"{name}.npz", images=images, labels=labels, classes=np.array(classes))
    return root


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    """What an analysis of two runs wrote: its folder, and what it returned."""
    out = tmp_path_factory.mktemp("out")
    wanted = scene.Wanted(epsilons=(0, 0.1), classes=("3", "7"), images=60)
    found, page = analyse.analyse(
        [runs / "plain", runs / "mixup"], out, wanted, display=Silent(), command="cohobate analyse"
    )
    assert page == out / "report.html"
    return out, found


def test_it_writes_a_page_figures_and_numbers(written):
    out, found = written
    assert {p.name for p in out.iterdir()} == {"report.html", "numbers.json", "figures"}
    names = {"reliability", "entropy", "confidence", "map", "norms", "robustness"}
    names |= {"confusion", "confused-0", "confused-1", "mixtures-1", "attention-0", "attention-1"}
    names |= {"similarity", "scores", "differences", "cost", "learning-curves", "loss-terms"}
    assert {p.name for p in (out / "figures").iterdir()} == {f"{name}.png" for name in names}
    for path in (out / "figures").iterdir():
        assert min(Image.open(path).size) > 150
    assert found.left_out == [
        "heads: it takes exits, heads on stages, a self-teacher, peers or a teacher; joint classifiers"
        " of class and rotation on the last features are not shown",
        "temperature: no run here has a teacher",
    ]
    numbers = json.loads((out / "numbers.json").read_text())
    assert [each["label"] for each in numbers["portraits"]] == ["supervised", "mixup"]
    assert numbers["classes"] == ["3", "7"]
    assert numbers["portraits"][0]["nll"] == found.portraits[0].nll
    assert numbers["portraits"][1]["robustness"]["epsilons"] == [0, 0.1]
    page = (out / "report.html").read_text()
    assert "cohobate analyse" in page
    assert f"{found.portraits[1].nll:.4f}" in page


def test_the_numbers_are_those_of_the_network(written, runs):
    _, found = written
    trained = reopen(runs / "mixup")
    split = trained.split("test")
    seen = outputs(trained.network, EvalLoader(split, size=trained.data.size, batch_size=64))
    portrait = found.portraits[1]
    hits = seen.logits.argmax(1) == split.targets
    assert portrait.top1 == pytest.approx(float(hits.float().mean()), abs=2 / len(split))
    rounding = 2**-8  # of bf16, in which analyse may compute
    norm = float(seen.features.norm(dim=1).mean())
    assert portrait.norms.mean == pytest.approx(norm, rel=rounding)
    assert sum(portrait.reliability.count) == found.images == len(split)
    for spread in (portrait.norms, *portrait.entropy, *portrait.confidence):
        assert sum(spread.shares) == pytest.approx(1)
        assert len(spread.edges) == len(spread.shares) + 1


def test_all_runs_are_shown_the_same_images(written, runs):
    _, found = written
    assert found.mapped == found.drawn == 60
    split = reopen(runs / "plain").split("test")
    own = [portrait.points for portrait in found.portraits]
    assert [at for _, _, at in own[0]] == [at for _, _, at in own[1]]
    assert {at for _, _, at in own[0]} == {0, 1}
    rows = torch.isin(split.targets, torch.tensor([3, 7])).nonzero()[:, 0]
    drawn = scene.draw(rows, 60)
    assert [[3, 7].index(t) for t in split.targets[drawn].tolist()] == [at for *_, at in own[0]]


def test_a_network_has_one_accuracy_wherever_the_page_tells_it(runs, tmp_path):
    """Also where it computes in bf16, which another precision would not agree with."""
    teacher = f"method.teacher={runs / 'plain'}"
    config, _ = resolve(load(SMOKE, [*FAST, "method.name=kd", teacher]))
    train(config, tmp_path / "kd", devices=1, display=Silent())
    wanted = scene.Wanted(only=("heads", "temperature"))
    folders = [tmp_path / "kd", runs / "plain"]
    found, _ = analyse.analyse(folders, tmp_path / "out", wanted, display=Silent())
    student, taught = found.portraits
    assert student.softness
    assert [head.accuracy for head in student.heads] == [student.top1, taught.top1]
    assert (student.softness.student_top1, student.softness.teacher_top1) == (
        student.top1,
        taught.top1,
    )


def test_the_command_tells_and_shows(cohobate, runs):
    options = ["--images", 12, "--epsilon", "0,8/255", "--temperature", 2, "--classes", "0,1"]
    ran = cohobate("analyse", runs / "plain", runs / "again", *options, "eval.batch_size=50")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    count = reopen(runs / "plain").data.test
    assert lines[0] == f"supervised seed=1: {len(count)} images"
    assert "supervised seed=2: attacks on 12 images" in lines
    assert (
        "left out: mixtures: it takes a method that mixes images, and images of two classes"
        in lines
    )
    lines = [line for line in lines if not line.startswith("left out")]
    assert lines[-4].split()[0] == "run"
    assert lines[-2].startswith("supervised seed=2")
    assert lines[-1] == "figures and details: out/analyse/report.html"
    numbers = json.loads(Path("out/analyse/numbers.json").read_text())
    assert numbers["temperatures"] == [2]
    assert numbers["drawn"] == 12


MISTAKES = {
    "class": (["--classes", "0,eleven"], ["unknown class 'eleven'", "config.json"]),
    "number": (["--classes", "10"], ["unknown class '10'", "did you mean '1'"]),
    "epsilon": (["--epsilon", "0,8"], ["--epsilon 8", "8/255"]),
    "no epsilon": (["--epsilon", "small"], ["--epsilon small", "8/255"]),
    "no fraction": (["--epsilon", "1/0"], ["--epsilon 1/0", "8/255"]),
    "temperature": (["--temperature", 0], ["--temperature 0", "above 0"]),
    "split": (["--split", "holdout"], ["--split holdout", "train, val, test"]),
    "cut": (["--split", "val", "data.val=0"], ["takes no data.val", "stay cut as they were"]),
    "setting": (["data.nmae=digits"], ["nmae", "did you mean 'name'"]),
    "seeds' val": (["again", "--split", "val"], ["other val images", "--split test"]),
    "folder": (["nowhere"], ["there is no folder nowhere"]),
    "out": (["--out", "plain/config.toml"], ["cannot be written to", "--out DIR"]),
    "few": (["--images", 3], ["needs 4 images or more", "3"]),
    "section": (
        ["--only", "heads,curve"],
        ["unknown section of --only 'curve'", "did you mean 'curves'"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(cohobate, runs, monkeypatch, mistake):
    arguments, words = MISTAKES[mistake]
    monkeypatch.chdir(runs)
    before = {path: path.stat().st_mtime for path in runs.rglob("*")}
    ran = cohobate("analyse", "plain", *arguments)
    assert ran.code == 2
    assert ran.err.startswith("cohobate: ")
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) == 1
    assert [word for word in words if word not in ran.err] == []
    assert {path: path.stat().st_mtime for path in runs.rglob("*")} == before


def test_no_run_at_all(cohobate):
    ran = cohobate("analyse", "seed=1")
    assert ran.code == 2
    assert "give RUN_FOLDER" in ran.err


def test_a_run_without_weights_has_curves_and_settings(cohobate, runs, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(runs / "plain", bare)
    (bare / "model.safetensors").unlink()
    ran = cohobate("analyse", bare, runs / "mixup", "--images", 8, "--only", "curves,confusion")
    assert ran.code == 0, ran.err
    assert f"left out: {bare} holds no trained network" in ran.out
    numbers = json.loads(Path("out/analyse/numbers.json").read_text())
    assert [each["label"] for each in numbers["portraits"]] == ["mixup"]
    ran = cohobate("analyse", bare)
    assert ran.code == 0, ran.err
    page = Path("out/analyse/report.html").read_text()
    assert str(bare) in page
    assert "learning-curves" in page
    (bare / "metrics.jsonl").unlink()
    ran = cohobate("analyse", bare)
    assert f"{bare} is not done: 0 of 1 epochs, so it has no learning curve" in ran.out


def test_what_runs_do_not_share_is_told(runs, make_run, cohobate):
    """Of runs without weights too, which are on no other data than they say."""
    bare = make_run("bare", config={"data": {"name": "cifar100", "batch_size": 16}})
    ran = cohobate("analyse", bare, runs / "plain", "--images", 8, "--only", "curves")
    assert ran.code == 0, ran.err
    told = "scores on cifar100, digits are not to be compared"
    assert f"warning: {told}" in ran.out
    page = Path("out/analyse/report.html").read_text()
    assert told in page.partition("To be wary of")[2]
    assert "images of digits, test split" in page


def test_a_folder_that_lost_its_heads_is_looked_at_by_its_network(runs, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(runs / "mixup", bare)
    (bare / "method.safetensors").unlink()
    wanted = scene.Wanted(images=8, only=["heads", "mixtures"])
    found, _ = analyse.analyse([bare], tmp_path / "out", wanted, display=Silent())
    assert "the network alone is looked at" in found.left_out[0]
    assert not found.portraits[0].mixtures


def test_of_averaged_weights_the_deployed_network_is_shown_unless_heads_read_another(
    runs, tmp_path
):
    """A run that added nothing to its network, and one whose exits know the weights of the last step."""
    deployed = reopen(runs / "plain").network.state_dict()
    for name in ("supervised", "byot"):
        shutil.copytree(runs / "plain", folder := tmp_path / name)
        config = (folder / "config.toml").read_text().replace('"supervised"', f'"{name}"')
        (folder / "config.toml").write_text(config)
        method = METHODS[name](Classifier("cifar_resnet8", 10, size=32))
        save_file(method.state_dict(), folder / "method.safetensors")
        (folder / "raw.safetensors").touch()
    opened, notes = sitters.open_runs([tmp_path / "supervised", tmp_path / "byot"], "test", [])
    last = load_file(tmp_path / "byot" / "method.safetensors")
    for sitter, expected in zip(opened, (deployed, last), strict=True):
        state = sitter.method.model.state_dict()
        name = next(key for key in state if key.endswith("weight"))
        key = name if expected is deployed else f"model.{name}"
        assert torch.equal(state[name], expected[key])
        assert not any(module.training for module in sitter.method.modules())
    assert [note.split(" deploys")[0] for note in notes] == [str(tmp_path / "byot")]
    wanted = scene.Wanted(images=8, only=["heads"])
    found, page = analyse.analyse([tmp_path / "byot"], tmp_path / "out", wanted, display=Silent())
    assert [score.name for score in found.portraits[0].heads] == ["exit 1", "exit 2", "last step"]
    assert "“last step” is the one that heads read" in page.read_text()


def test_a_teacher_and_heads_are_found_again(runs, tmp_path):
    """The whole method is rebuilt from its folder, its teacher's own folder being gone."""
    teacher = tmp_path / "teacher"
    shutil.copytree(runs / "plain", teacher)
    options = ["method.name=kd", f"method.teacher={teacher}"]
    config, _ = resolve(load(SMOKE, [*FAST, *options]))
    train(config, tmp_path / "kd", devices=1, display=Silent())
    expected = reopen(teacher).network.eval()
    shutil.rmtree(teacher)
    method = reopen(tmp_path / "kd").method()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(method.get_submodule("teacher")(images), expected(images))
    wanted = scene.Wanted(images=8, only=["heads", "temperature", "similarity"])
    found, _ = analyse.analyse([tmp_path / "kd"], tmp_path / "out", wanted, display=Silent())
    assert [score.name for score in found.portraits[0].heads] == ["network", "teacher"]
    assert found.portraits[0].softness is not None
    assert [(each.one, each.other) for each in found.similarities] == [("kd", "teacher")]
    assert found.left_out == []


def test_runs_on_other_data(cohobate, runs, tmp_path):
    """Images, classes, and sizes: what two runs do not share is named."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 4
    images = random.integers(0, 256, (40, 24, 24, 3), dtype=np.uint8)
    names = ["ant", "bee", "cat", "dog"]
    roots = {
        "one": arrays(tmp_path / "one", images, labels, names),
        "other": arrays(tmp_path / "other", 255 - images, labels, names),
        "renamed": arrays(tmp_path / "renamed", images, labels, [*names[:3], "eel"]),
    }
    common = [*FAST[:1], "data.name=npz", "data.batch_size=16", "compile=false"]
    roots["large"] = roots["one"]
    for name, root in roots.items():
        size = [f"data.size={32 if name == 'large' else 24}", f"data.root={root}"]
        config, _ = resolve(load(SMOKE, [*common, *size]))
        train(config, tmp_path / "runs" / name, devices=1, display=Silent())
    one = tmp_path / "runs" / "one"
    for name, words in {
        "other": "other test images",
        "renamed": "other classes",
        "large": "images of 24 and 32 pixels",
        str(runs / "plain"): "other classes",
    }.items():
        ran = cohobate("analyse", one, tmp_path / "runs" / name)
        assert ran.code == 2
        assert words in ran.err
    ran = cohobate("analyse", one, "--classes", "ant,eel")
    assert "unknown class 'eel': did you mean 'bee'?" in ran.err


def test_classes_are_spread_evenly_unless_chosen():
    names = [f"class {number}" for number in range(100)]
    assert scene.choose([], names, Path()) == list(range(0, 100, 10))
    assert scene.choose([], names[:7], Path()) == list(range(7))
    assert scene.choose(["class 3", "5", "3"], names, Path()) == [3, 5]
    assert scene.choose(["1"], ["1", "0"], Path()) == [0]  # a name counts before a number


def test_chosen_classes_without_an_image_are_a_mistake_whatever_is_wanted(runs):
    trained = reopen(runs / "plain")
    others = trained.data.test.take((trained.data.test.targets != 3).nonzero()[:, 0])
    trained = replace(trained, data=replace(trained.data, test=others))
    with pytest.raises(ValueError, match="--split test has no image of the chosen classes"):
        scene.arranged(trained, scene.Wanted(classes=["3"], only=["confusion"]))


def test_what_is_missing_is_told(runs, tmp_path, monkeypatch):
    """Few images for a similarity, many classes for a matrix."""
    monkeypatch.setattr(matrices, "MOST", 9)
    wanted = scene.Wanted(images=3, only=["similarity", "confusion"])
    pair = [runs / "plain", runs / "mixup"]
    found, _ = analyse.analyse(pair, tmp_path / "out", wanted, display=Silent())
    assert [sentence.split(":")[0] for sentence in found.left_out] == ["confusion", "similarity"]
    assert "4 images or more" in found.left_out[1]
    assert (tmp_path / "out" / "figures" / "confusion.png").is_file()


def test_draws_are_the_same_and_all_where_there_are_few():
    rows = torch.arange(5, 105)
    first = scene.draw(rows, 10)
    assert torch.equal(first, scene.draw(rows, 10))
    assert len(set(first.tolist())) == 10
    assert first.tolist() == sorted(first.tolist())
    assert torch.equal(scene.draw(rows, 1000), rows)


def test_similarity_is_of_batches_of_all_classes_however_images_are_listed(runs, monkeypatch):
    """A batch of one class or two would tell how alike classes are, not how alike images."""
    every = []
    for name in ("plain", "again"):
        trained = reopen(runs / name)
        listed = trained.data.test.take(trained.data.test.targets.argsort())
        trained = replace(trained, data=replace(trained.data, test=listed))
        every.append(sitters.Sitter(name, Run.read(runs / name), trained, trained.method()))
    seen = []
    monkeypatch.setattr(analyse, "similarities", lambda _, __, batches: seen.extend(batches) or [])
    shown = scene.arranged(every[0].trained, scene.Wanted())
    analyse._alike(every, shown, Silent())
    assert sum(len(batch.targets) for batch in seen) == len(shown.drawn) > analyse.SIMILAR
    assert all(len(batch.targets.unique()) == 10 for batch in seen)


def test_labels_tell_all_runs_apart(make_run):
    runs = [make_run("a", "kd", 1), make_run("b", "kd", 2), make_run("c", "kd", 2), make_run("d")]
    found = sitters.labels([Run.read(path) for path in runs])
    assert found[0] == "kd seed=1"
    assert found[1:3] == [f"kd seed=2 {path}" for path in runs[1:3]]
    assert found[3] == "supervised"


def test_a_terminal_shows_how_far_it_is(capsys):
    from rich.console import Console

    bar = Bar(Console(force_terminal=True, width=60))
    assert list(bar.track("[red] 3 images", [1, 2, 3])) == [1, 2, 3]
    assert "[red] 3 images" in capsys.readouterr().out
