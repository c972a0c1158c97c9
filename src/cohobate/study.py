"""Many runs from a few run files: what is missing is trained, one after another or side by side."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from cohobate import config as settings
from cohobate import defaults
from cohobate.analysis.groups import BASELINE
from cohobate.analysis.runs import Run
from cohobate.budget import Budget, lengths, scaled
from cohobate.config import Override, RunConfig
from cohobate.display import Lines
from cohobate.earlier import check_earlier, check_places, earlier, is_done, train_earlier
from cohobate.jobs import Job, side_by_side
from cohobate.methods import asked
from cohobate.rundir import RunDir
from cohobate.scores import record_outcomes
from cohobate.tables import flat
from cohobate.tasks import TASKS
from cohobate.train import train

Sweeps = Mapping[str, Sequence[Any]]
"""The values of each setting that is varied, under its key."""


@dataclass(frozen=True)
class Planned:
    """A run of a study: what sets it apart, as a relative folder, and its settings."""

    name: Path
    config: RunConfig


def sweep(text: str) -> tuple[str, list[Any]]:
    """`key=a,b` as a key and its values: each is TOML, else text. Raises ValueError."""
    key, _ = settings.pair(text)
    values = text.partition("=")[2]
    if not all(map(str.strip, values.split(","))):
        raise ValueError(f"--sweep {text}: a value is missing; write {key}=A,B")
    try:
        return key, tomllib.loads(f"x = [{values}]")["x"]
    except tomllib.TOMLDecodeError:
        return key, [settings.pair(f"{key}={value}")[1] for value in values.split(",")]


def sweeps(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Several such texts. Raises ValueError where two are of one key."""
    found: dict[str, list[Any]] = {}
    for key, values in map(sweep, texts):
        if key in found:
            raise ValueError(f"--sweep {key}=… is given twice: give all values at once, {key}=A,B")
        found[key] = values
    return found


def names(text: str) -> list[str]:
    """`a,b` as names. Raises ValueError where one is missing."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise ValueError(f"--methods {text!r}: a name is missing; write A,B")
    return found


def plan(
    files: Sequence[Path],
    overrides: Sequence[Override] = (),
    sweeps: Sweeps | None = None,
    seeds: int | None = None,
) -> list[Planned]:
    """Every combination of what is varied, for each run file; the seeds are the outermost loop.

    sweeps: take the place of what a file's table [sweep] says of the same setting. Where methods
        are varied, an option of [method] is given to those that take it, if any does; the others
        are planned once.
    seeds: how many, counted from that of the file; takes the place of its sweep of `seed`.
    Raises ValueError where a file, a setting or a combination is not as it should be.
    """
    if seeds and "seed" in (sweeps or {}):
        raise ValueError(
            f"--seeds {seeds} and --sweep seed=… both say which seeds: give one of them"
        )
    planned: dict[str, Planned] = {}
    for file, stem in zip(files, _stems(files)):
        varied = {**_own_sweeps(file), **(sweeps or {})}
        first = settings.load(file, overrides).seed
        chosen = varied.pop("seed", [first])
        if seeds:
            chosen = range(first, first + seeds)
        keys = sorted(varied, key=lambda key: key != "method.name")
        stated = [p if isinstance(p, tuple) else settings.pair(p) for p in overrides]
        for seed, values in product(chosen, product(*(varied[key] for key in keys))):
            point = dict(zip(keys, values))
            foreign = _foreign(point, varied.get("method.name", ()), {*dict(stated), *keys})
            point = {key: value for key, value in point.items() if key not in foreign}
            own = [(key, value) for key, value in stated if key not in foreign]
            config = settings.load(file, [*own, *point.items(), ("seed", seed)])
            config = defaults.resolve(config)[0]
            if len(varied.get("method.teacher", ())) == 1 and "method.teacher" in point:
                point.pop("method.teacher")
            title = _title(config, point, stem if len(files) > 1 else "")
            planned.setdefault(config.toml(), Planned(Path(title, f"seed{seed}"), config))
    return sorted(planned.values(), key=lambda run: run.config.seed)


def _foreign(point: Mapping[str, Any], methods: Sequence[Any], given: set[str]) -> set[str]:
    """Of the settings that are given, the options of [method] that others of these methods take.

    point: says which of the methods it is. An option that none of them takes is not foreign, but
    wrong, and left for `defaults.resolve` to tell of.
    """
    if "method.name" not in point:
        return set()
    own, *taken = (asked(str(name)) for name in (point["method.name"], *methods))
    options = {key.removeprefix("method."): key for key in given if key.startswith("method.")}
    options.pop("name", None)
    return {key for name, key in options.items() if name in set().union(*taken) - own}


def _stems(files: Sequence[Path]) -> list[str]:
    """A name for each run file; of files of one name, with the folders that set them apart.

    Raises ValueError where nothing does.
    """
    stems = []
    for file in files:
        twins = [other.resolve().parts for other in files if other.stem == file.stem]
        shared = set.intersection(*map(set, twins))
        apart = [part for part in file.resolve().parts[:-1] if part not in shared]
        stems.append("-".join([*apart, file.stem]))
    for stem, file in zip(stems, files):
        if stems.count(stem) > 1:
            raise ValueError(
                f"{file} and another run file cannot be told apart by name or folder, and their runs"
                " would share a folder: give each once, or copy one under another name"
            )
    return stems


def default_folder(files: Sequence[Path]) -> Path:
    """Where a comparison lies that was given no folder: under the name of its run file."""
    names = (
        [file.stem for file in files[:1]] if len(files) < 2 else [files[0].resolve().parent.name]
    )
    return Path("out", "compare", *names)


def _own_sweeps(file: Path) -> dict[str, list[Any]]:
    """The table [sweep] of a run file. Raises ValueError where a value is no list."""
    table = settings.read(file).get("sweep", {})
    for key, values in (flat(table) if isinstance(table, dict) else {"sweep": table}).items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{file}: [sweep] {key}={values} should be a list of values")
    return flat(table)


def _title(config: RunConfig, point: dict[str, Any], stem: str) -> str:
    """What sets a run of a study apart, as one part of a path."""
    first = [stem] if stem else []
    if not stem or "method.name" in point:
        first.append(config.method.name)
    rest = [f"{k.split('.')[-1]}={v}" for k, v in point.items() if k != "method.name"]
    return "-".join([*first, *rest]).replace("/", "_").replace(":", ".")


def fit(
    planned: Sequence[Planned], budget: Budget, folder: Path, display: Lines, measure: bool = True
) -> tuple[list[Planned], str]:
    """The runs, made longer or shorter so that each costs what `supervised` would; and a sentence.

    A run whose length stays keeps its name. The rest is as for `budget.lengths`.
    """
    if budget == "epochs":
        return [*planned], ""
    first = {str(run.name.parent): run.config for run in reversed(planned)}
    epochs = lengths(first, budget, folder / "budget.json", display, measure)
    fitted = []
    for run in planned:
        title, length = str(run.name.parent), epochs[str(run.name.parent)]
        changed = "" if length == run.config.optim.epochs else f"-epochs={length}"
        name = Path(title + changed, run.name.name)
        fitted.append(Planned(name, scaled(run.config, length)))
    what = {"compute": "operations in training", "minutes": "time for training"}[budget]
    return fitted, (
        f"Every method was given the {what} of {BASELINE} (--budget {budget}), rounded to whole"
        " epochs, at least one: the epochs differ, and milestones and warm-ups with them"
    )


def check(planned: Sequence[Planned], folder: Path, beside: Sequence[Path] = ()) -> None:
    """Raises ValueError for what would else be told once other runs are trained.

    That is a teacher, or a start, that is not there, a folder that holds another run, and runs of
    several tasks, also among those `beside`, which are there to be compared with.
    """
    tasks = {run.config.task: str(run.name) for run in planned}
    for path in beside:
        try:
            tasks[Run.read(path).task_name] = str(path)
        except ValueError:
            if not RunDir(path).config.exists():
                raise  # what is damaged is named in the end, and left out
    if len(tasks) > 1:
        named = ", ".join(f"{place} is of task={task}" for task, place in tasks.items())
        raise ValueError(f"{named}: compare runs of one task")
    check_places((folder / run.name, run.config) for run in planned)
    coming, lacking = set[Path](), dict[str, list[str]]()
    for run in planned:
        try:
            done = is_done(folder / run.name, run.config)
        except ValueError:  # it is damaged, and `carry_out` tells of it
            done = True
        try:
            if not done:
                check_earlier(run.config, coming)
        except ValueError as error:
            lacking.setdefault(str(error), []).append(str(run.name))
        coming.add((folder / run.name).resolve())
    if lacking:
        said = [f"{', '.join(names)}: {reason}" for reason, names in lacking.items()]
        raise ValueError("; ".join(said))


def carry_out(
    planned: Sequence[Planned], folder: Path, display: Lines, at_once: int = 1
) -> tuple[list[Path], list[str]]:
    """Trains what is not trained yet, teachers first; returns the folders of all runs that are done.

    at_once: runs that are trained side by side.
    A run that fails is told of and left, and the others go on: the sentences that are returned say
    which, and why. Raises `Interrupted` and OSError, as `train` does.
    """
    jobs, failed = list[Job](), dict[str, str]()
    places = {
        run.name: f"run {n} of {len(planned)}: {run.name}" for n, run in enumerate(planned, 1)
    }
    for run in planned:
        try:
            if is_done(folder / run.name, run.config):
                display.say(f"{places[run.name]}: already there")
                continue
            if at_once > 1:
                train_earlier(run.config, display)
            jobs.append(Job(str(run.name), run.config, folder / run.name, earlier(run.config)))
        except (ValueError, FileNotFoundError, FloatingPointError) as error:
            failed[str(run.name)] = str(error)
    if at_once > 1:
        failed |= side_by_side(jobs, at_once, display)
        jobs = []
    for job in jobs:
        display.say(places[Path(job.name)])
        try:
            train_earlier(job.config, display)
            rows = train(job.config, job.folder, devices=1, display=display)
            task = TASKS[job.config.task]
            display.say(f"    test {task.title} {100 * rows[-1][f'test/{task.score}']:.2f} %")
        except (ValueError, FileNotFoundError, FloatingPointError) as error:
            failed[job.name] = str(error)
            display.say(f"    failed: {error}")
    reasons: dict[str, list[str]] = {}
    for name, reason in failed.items():
        reasons.setdefault(reason, []).append(name)
    told = [f"{', '.join(names)}: left out: {reason}" for reason, names in reasons.items()]
    return [folder / run.name for run in planned if str(run.name) not in failed], told


def there(planned: Sequence[Planned], folder: Path) -> tuple[list[Path], list[str]]:
    """The folders of the runs that are done, and sentences on those that are not, or are damaged."""
    done, told = list[Path](), list[str]()
    missing: dict[str, dict[str, list[str]]] = {}
    for run in planned:
        try:
            if is_done(folder / run.name, run.config):
                done.append(folder / run.name)
                continue
            state = _state(folder / run.name, run.config)
        except ValueError as error:
            told.append(str(error))
            continue
        cells = missing.setdefault(state, {}).setdefault(str(run.name.parent), [])
        cells.append(str(run.config.seed))
    for state, names in missing.items():
        cells = sorted(f"{name} (seed {', '.join(seeds)})" for name, seeds in names.items())
        told.append(f"{state}: {', '.join(cells)}")
    return done, told


def _state(path: Path, config: RunConfig) -> str:
    """How far a run is that is not done. Raises ValueError where a file in its folder is damaged."""
    run = RunDir(path)
    if not (run.config.exists() and run.environment.exists()):
        return "not trained yet"
    there = settings.read(run.config)
    if other := settings.differences(there, tomllib.loads(config.toml())):
        return f"there with other settings (folder → asked: {', '.join(other)})"
    return (
        f"trained for {len(Run.read(path).rows)} of {config.optim.epochs} epochs, and not finished"
    )


def moved(planned: Sequence[Planned], folder: Path) -> list[str]:
    """Sentences on runs that are done, but on data from another folder than the one that is asked for."""
    found: dict[str, list[str]] = {}
    for run in planned:
        try:
            there = Run.read(folder / run.name)
        except ValueError:  # it is not there, or is damaged, which is told elsewhere
            continue
        root, asked = there.finished and there.root, run.config.data.root
        if root and asked and Path(root).resolve() != Path(asked).resolve():
            found.setdefault(f"data.root={root}, not {asked}", []).append(str(run.name))
    return [
        f"already there from {roots}: {', '.join(names)}; where those are other images, name another"
        " folder with --runs DIR"
        for roots, names in found.items()
    ]


def score_again(folders: Iterable[Path], display: Lines) -> None:
    """Writes `outcomes.json` where a finished run has a network and, being older, no such file."""
    for path in folders:
        run = RunDir(path)
        if run.outcomes.exists() or not (run.done and run.metrics.is_file()):
            continue
        try:
            if TASKS[Run.read(path).task_name].outcomes is None:
                continue
        except ValueError:  # the comparison tells of it
            continue
        display.say(f"{path}: scored again, for its {run.outcomes.name}")
        try:
            record_outcomes(path)
        except (ValueError, OSError) as error:
            display.say(f"    left as it is: {error}")
