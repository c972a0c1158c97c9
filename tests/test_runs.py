"""Every run file in `runs/`: it loads, resolves and builds, and its heading says how to run it."""

import re
from pathlib import Path

import pytest

from cohobate import Classifier, build, config, defaults, planning, teachers
from cohobate.data.classification import ImageSet
from cohobate.lineage import lineage
from cohobate.tasks import TASKS
from cohobate.transfer import Source

ROOT = Path(__file__).parents[1]
RUNS = sorted(path.relative_to(ROOT) for path in (ROOT / "runs").rglob("*.toml"))
OURS = {"smoke", "digits", "short"}
"""Folders of run files that stand for no published number."""


@pytest.fixture(autouse=True)
def in_a_clone(monkeypatch, tmp_path):
    """A folder with the run files and without runs, in which nothing has been trained."""
    (tmp_path / "runs").symlink_to(ROOT / "runs")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=RUNS, ids=str)
def path(request) -> Path:
    return request.param


def heading(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(n for n, line in enumerate(lines) if line[:1] != "#")])


def command(path: Path) -> str:
    """The command by which a heading says that its run is trained."""
    named = re.escape(f"cohobate train {path.as_posix()}")
    found = re.search(rf"{named}(?: [^`\n]*)?", heading(path))
    assert found, f"{path}: `cohobate train {path}` should stand in its heading"
    return found.group()


def declared(run: config.RunConfig) -> ImageSet:
    """The data of a run, without its files; VOC's in the place of COCO's, whose classes they would tell."""
    name = "voc0712" if run.data.name == "coco" else run.data.name
    return TASKS[run.task].declared(name, run.data.size)


stepped: set[str] = set()
"""What a step was taken of: networks and options are in the tests of the methods."""


def test_builds_without_data_and_without_a_trained_teacher(path):
    folder = config.read(path).get("data", {}).get("name") == "folder"  # of no known classes
    run, notes = defaults.resolve(config.load(path, ["data.name=shapes"] if folder else []))
    assert not notes, "a run file should say what it does"
    for number, _ in enumerate(run.before or (), start=1):
        teachers.blueprint(run.stage(number))
    facts = declared(run)
    method, size = teachers.blueprint(run, facts)
    assert method.model.num_classes == len(facts.classes)
    assert size == facts.size
    assert {tensor.device.type for tensor in method.state_dict().values()} == {"meta"}
    kind = f"{run.task} {run.method.name} {run.mix}"
    if kind not in stepped:
        assert lineage(method, size)[0]
    stepped.add(kind)


def test_heading(path):
    text = heading(path)
    assert command(path)
    if OURS.isdisjoint(path.parts):
        assert "https://" in text
        assert "Published: " in text
        assert "Ours: " in text


def test_no_two_runs_share_a_folder():
    """The commands of the headings can be given one after another, and no run is taken for another."""
    folders: dict[Path, Path] = {}
    for path in RUNS:
        if "sweep" in config.read(path):
            continue
        out = re.search(r"--out (\S+)", command(path))
        run, _ = defaults.resolve(config.load(path))
        folder = Path(out.group(1)) if out else defaults.default_folder(run)
        assert folder not in folders, f"{path} and {folders[folder]}"
        folders[folder] = path


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
    planned = planning.plan([path])
    assert len({run.name for run in planned}) == len(planned) > 1
    assert f"cohobate compare {path.as_posix()}" in heading(path)


def test_heat_map_is_as_large_as_in_the_paper():
    assert len(planning.plan([Path("runs/cifar100/mixkd/heat_map.toml")])) == 5 * 5 * 2


def test_mixskd_variants_differ_as_their_heading_says():
    folder = Path("runs/cifar100/resnet18")
    paper, released = (
        defaults.resolve(config.load(folder / name))[0].model_dump(mode="json")
        for name in ("mixskd.toml", "mixskd_released.toml")
    )
    assert config.differences(paper, released) == [
        "method.variant: paper → released",
        "model.stem_act: not set → False",
        "optim.clip: 5.0 → 0.0",
    ]


LOADED = {path: config.load(ROOT / path) for path in RUNS}
TEACHERS = {path: run.method.options.get("teacher", "@") for path, run in LOADED.items()}
STUDENTS = [path for path, teacher in TEACHERS.items() if teacher[0] != "@"]  # that is a stage
BEGUN = [path for path, run in LOADED.items() if run.init and run.init[0] != "@"]


def earlier(path: Path, file: str, run: config.RunConfig) -> config.RunConfig:
    """The run of a file that another one names; its command stands in that one's heading."""
    assert f"cohobate train {file}" in heading(path)
    first = config.load(file)
    if first.task == run.task:
        assert (first.data.name, first.data.size) == (run.data.name, run.data.size)
    return first


@pytest.mark.parametrize("path", STUDENTS, ids=str)
def test_missing_teacher_names_the_command_that_trains_it(path):
    run, _ = defaults.resolve(config.load(path))
    teacher = run.method.options["teacher"]
    earlier(path, teacher, run)
    data = declared(run)
    with pytest.raises(ValueError, match=f"`cohobate train {teacher}`"):
        build.method(run, data, Classifier("cifar_resnet8", len(data.classes)), teachers.find)


@pytest.mark.parametrize("path", BEGUN, ids=str)
def test_missing_start_names_the_command_that_trains_it(path):
    run, _ = defaults.resolve(config.load(path))
    assert run.init
    first = earlier(path, run.init, run)
    source = Source.planned(Path("first"), first)
    assert source.encoder(run.task).items() <= run.model.model_dump().items()
    with pytest.raises(ValueError, match=f"init=.*`cohobate train {run.init}`"):
        build.model(run, declared(run))


def test_a_teacher_that_does_not_fit_is_refused_before_it_is_trained():
    student = "runs/cifar100/hsakd/wrn40_2_wrn16_2.toml"

    def refuse(sentence, *overrides):
        with pytest.raises(ValueError, match=sentence):
            teachers.blueprint(defaults.resolve(config.load(student, overrides))[0])

    refuse("has 3 auxiliary heads and the student 'cifar_vgg8' 4", "model.arch=cifar_vgg8")
    refuse("knows 100 classes, and the data 'digits' has 10", "data.name=digits")
    refuse("takes images of 32 pixels, and the data has 64", "data.size=64")
    plain = "method.teacher=runs/cifar100/resnet56/supervised.toml"
    refuse("'supervised' and has no auxiliary parts.*method.name=hsakd_teacher", plain)
