"""What has to be there before a run can be trained: its teacher, what it starts from, and its place."""

import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from cohobate import config as settings
from cohobate import defaults, teachers
from cohobate.analysis.runs import Run
from cohobate.config import INERT, RunConfig
from cohobate.display import Lines
from cohobate.rundir import RunDir
from cohobate.tables import flat
from cohobate.train import train
from cohobate.weights import weights_file


def is_done(path: Path, config: RunConfig) -> bool:
    """Whether a folder holds the whole of this run, or what is kept of one: all but its weights.

    Raises ValueError where a file in it is damaged.
    """
    run = RunDir(path)
    begun = run.last.exists() or run.previous.exists()
    if not run.config.exists() or (begun and not run.model.is_file()):
        return False
    kept = Run.read(path)
    return kept.finished and not other_settings(kept.config, config)


def other_settings(there: dict[str, Any], config: RunConfig) -> list[str]:
    """How the settings that a folder holds differ from these, a line each."""
    return settings.differences(there, tomllib.loads(config.toml()))


def train_earlier(config: RunConfig, display: Lines) -> None:
    """Trains the runs whose files are named as `teacher` and `init`, where they are missing."""
    for stage in config.before or ():
        train_earlier(stage, display)
    for role, named in _named(config):
        if (before := _run_file(named, config)) is None:
            continue
        folder = defaults.default_folder(before)
        if not (RunDir(folder).model.is_file() and is_done(folder, before)):
            display.say(f"first its {role}: {named}, in {folder}")
            train_earlier(before, display)
            train(before, folder, devices=1, display=display)


def earlier(config: RunConfig) -> frozenset[Path]:
    """The paths that a run, or a stage of it, names as `teacher` and `init`."""
    stages = [earlier(stage) for stage in config.before or ()]
    return frozenset(Path(named).resolve() for _, named in _named(config)).union(*stages)


def check_earlier(config: RunConfig, coming: Collection[Path]) -> None:
    """Raises ValueError where a run names a teacher, or a start, that nothing here will train.

    coming: the folders of the runs that are trained before it.
    """
    for stage in config.before or ():
        check_earlier(stage, coming)
    for role, named in _named(config):
        if named.startswith("@") or Path(named).resolve() in coming:
            continue
        if (before := _run_file(named, config)) is not None:
            check_earlier(before, coming)
        elif role == "teacher":
            teachers.check_there(config)
        else:
            weights_file(named)


def check_places(runs: Iterable[tuple[Path, RunConfig]]) -> None:
    """Raises ValueError where folders hold runs of other settings than those that are to lie there."""
    found: dict[str, list[Path]] = {}
    for folder, config in runs:
        if not (file := RunDir(folder).config).is_file():
            continue
        try:
            there = settings.read(file)
        except ValueError:  # the run itself tells that it is damaged
            continue
        if other := other_settings(there, config):
            found.setdefault(", ".join(other), []).append(folder)
    if found:
        said = [f"{', '.join(map(str, at))} ({other})" for other, at in found.items()]
        raise ValueError(
            f"runs of other settings lie where these belong (folder → asked): {'; '.join(said)}:"
            " name another folder with --runs DIR, or remove them"
        )


def _named(config: RunConfig) -> Iterator[tuple[str, str]]:
    """What a run names as `teacher` and `init`, where it does."""
    for role, named in (("teacher", config.method.options.get("teacher")), ("init", config.init)):
        if named:
            yield role, str(named)


def _run_file(named: str, config: RunConfig) -> RunConfig | None:
    """The run that a run file stands for, carried out as this one is; None for anything else."""
    file = Path(named)
    if file.suffix != ".toml" or not file.is_file():
        return None
    return defaults.resolve(settings.load(file, list(_where(config))))[0]


def _where(config: RunConfig) -> Iterator[tuple[str, object]]:
    """The settings that say how a run is carried out, not what it is, such as where its data lies.

    What its teacher says is none of them: the runs before it have another teacher, or none.
    """
    mine = flat(config.model_dump(mode="json", exclude={"cache"}))
    return ((key, mine[key]) for key in INERT if mine.get(key) is not None)
