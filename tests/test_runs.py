"""Every run file in `runs/`: it loads, resolves and builds, and its heading says how to run it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from cohobate import Classifier, build, config, study
from cohobate.data.classification import ImageSet
from cohobate.data.splits import Split

ROOT = Path(__file__).parents[1]
RUNS = sorted(path.relative_to(ROOT) for path in (ROOT / "runs").rglob("*.toml"))
CLASSES = {"digits": 10, "cifar100": 100, "folder": 1000}
OURS = {"smoke", "digits"}
"""Folders of run files that stand for no published number."""


@pytest.fixture(autouse=True)
def in_a_clone(monkeypatch, tmp_path):
    """A folder with the run files and without runs, in which nothing has been trained."""
    (tmp_path / "runs").symlink_to(ROOT / "runs")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=RUNS, ids=str)
def path(request) -> Path:
    return request.param


def facts(run: config.RunConfig) -> ImageSet:
    """What is known of the data of a run, with two images and without its files."""
    size = run.data.size or 32
    images = Split(torch.zeros(2, 3, size, size, dtype=torch.uint8), torch.tensor([0, 1]))
    classes = tuple(str(number) for number in range(CLASSES[run.data.name]))
    half = (0.5, 0.5, 0.5)
    return ImageSet(
        run.data.name, classes, size, 3, half, half, images, None, images, ("crop",), ()
    )


def heading(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(n for n, line in enumerate(lines) if line[:1] != "#")])


def untrained(reference: str, data: ImageSet, kind: type) -> nn.Module:
    """A small teacher of the kind that a method asks for."""
    network = Classifier("cifar_resnet8", len(data.classes))
    return network if kind is Classifier else kind(network)


def test_builds(path, monkeypatch):
    run, notes = build.resolve(config.load(path))
    assert not notes, "a run file should say what it does"
    data = facts(run)
    if "teacher" in run.method.options:
        monkeypatch.setattr(build, "teacher", untrained)
    method = build.method(run, data, build.model(run, data))
    assert method.model.num_classes == len(data.classes)


def test_heading(path):
    text = heading(path)
    assert f"cohobate train {path.as_posix()}" in text
    if OURS.isdisjoint(path.parts):
        assert "https://" in text
        assert "Published: " in text
        assert "Ours: " in text


def test_published_settings_are_spelt_out(path):
    """Nothing that a published number rests on is left to our defaults."""
    if not OURS.isdisjoint(path.parts):
        return
    run = config.load(path)
    assert {"augment", "batch_size", "val"} <= run.data.model_fields_set
    assert run.data.val == 0
    text = path.read_text(encoding="utf-8")
    for name in ("epochs", "lr", "schedule", "warmup", "nesterov", "weight_decay", "clip"):
        assert f"\n{name} = " in text, name


def test_every_run_of_a_sweep_resolves(path):
    if "sweep" not in config.read(path):
        return
    planned = study.plan([path])
    assert len({run.name for run in planned}) == len(planned) > 1
    assert f"cohobate compare {path.as_posix()}" in heading(path)


def test_heat_map_is_as_large_as_in_the_paper():
    assert len(study.plan([Path("runs/cifar100/mixkd/heat_map.toml")])) == 5 * 5 * 2


def test_mixskd_variants_differ_as_their_heading_says():
    folder = Path("runs/cifar100/resnet18")
    paper, released = (
        build.resolve(config.load(folder / name))[0].model_dump(mode="json")
        for name in ("mixskd.toml", "mixskd_released.toml")
    )
    assert config.differences(paper, released) == [
        "method.variant: paper → released",
        "model.stem_act: not set → False",
        "optim.clip: 5.0 → 0.0",
    ]


STUDENTS = [path for path in RUNS if "teacher" in config.load(ROOT / path).method.options]


@pytest.mark.parametrize("path", STUDENTS, ids=str)
def test_missing_teacher_names_the_command_that_trains_it(path):
    run, _ = build.resolve(config.load(path))
    teacher = run.method.options["teacher"]
    assert f"cohobate train {teacher}" in heading(path)
    assert config.load(teacher).data == run.data
    with pytest.raises(ValueError, match=f"`cohobate train {teacher}`"):
        build.method(run, facts(run), Classifier(run.model.arch, 100))
