"""Many runs from a few run files: what is missing is trained, one after another."""

import inspect
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from cohobate import build
from cohobate import config as settings
from cohobate.analysis.runs import Run, flat
from cohobate.config import INERT, Override, RunConfig
from cohobate.display import Lines
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
    try:
        return key, tomllib.loads(f"x = [{values}]")["x"]
    except tomllib.TOMLDecodeError:
        return key, [settings.pair(f"{key}={value}")[1] for value in values.split(",")]


def plan(
    files: Sequence[Path],
    overrides: Sequence[Override] = (),
    sweeps: Sweeps | None = None,
    seeds: int | None = None,
) -> list[Planned]:
    """Every combination of what is varied, for each run file; the seeds are the outermost loop.

    sweeps: take the place of what a file's table [sweep] says of the same setting. Where methods
        are varied, `method.teacher` is given to those that take a teacher.
    seeds: how many, counted from that of the file; takes the place of its sweep of `seed`.
    Raises ValueError where a file, a setting or a combination is not as it should be.
    """
    planned: dict[str, Planned] = {}
    for file, stem in zip(files, _stems(files)):
        varied = {**_own_sweeps(file), **(sweeps or {})}
        first = settings.load(file, overrides).seed
        chosen = varied.pop("seed", [first])
        if seeds:
            chosen = range(first, first + seeds)
        names = sorted(varied, key=lambda key: key != "method.name")
        for seed, values in product(chosen, product(*(varied[name] for name in names))):
            point = dict(zip(names, values))
            stated = (p if isinstance(p, tuple) else settings.pair(p) for p in overrides)
            given = [*stated, *point.items(), ("seed", seed)]
            config = settings.load(file, _suited(given))
            config = build.resolve(config)[0]
            if len(varied.get("method.teacher", ())) == 1:
                point.pop("method.teacher")
            title = _title(config, point, stem if len(files) > 1 else "")
            planned.setdefault(config.toml(), Planned(Path(title, f"seed{seed}"), config))
    return sorted(planned.values(), key=lambda run: run.config.seed)


def _suited(given: Sequence[tuple[str, Any]]) -> list[Override]:
    """Settings without the teacher of a method that takes none."""
    name = dict(given).get("method.name")
    if name is None or "teacher" in inspect.signature(build.find_method(str(name))).parameters:
        return [*given]
    return [(key, value) for key, value in given if key != "method.teacher"]


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


def carry_out(planned: Sequence[Planned], folder: Path, display: Lines) -> list[Path]:
    """Trains what is not trained yet, teachers first; returns the folders of all runs.

    A run whose losses are not finite is told of and left; the others go on. Raises what `train`
    raises.
    """
    folders = [folder / run.name for run in planned]
    for number, (run, path) in enumerate(zip(planned, folders), start=1):
        place = f"run {number} of {len(planned)}: {run.name}"
        if is_done(path, run.config):
            display.say(f"{place}: already there")
            continue
        display.say(place)
        _train_before(run.config, display)
        try:
            rows = train(run.config, path, devices=1, display=display)
            display.say(f"    test top-1 {100 * rows[-1]['test/top1']:.2f} %")
        except FloatingPointError as error:
            display.say(f"warning: {run.name} is left out: {error}")
    return folders


def is_done(path: Path, config: RunConfig) -> bool:
    """Whether a folder holds the whole of this run."""
    if not (path / "model.safetensors").is_file():
        return False
    there = Run.read(path)
    asked = tomllib.loads(config.toml())
    return there.finished and not settings.differences(there.config, asked)


def _train_before(config: RunConfig, display: Lines) -> None:
    """Trains the runs whose files are named as `teacher` and `init`, where they are missing."""
    for stage in config.before or ():
        _train_before(stage, display)
    for role, named in (("teacher", config.method.options.get("teacher")), ("init", config.init)):
        file = Path(str(named))
        if file.suffix != ".toml" or not file.is_file():
            continue
        earlier = build.resolve(settings.load(file, list(_where(config))))[0]
        folder = build.default_folder(earlier)
        if not is_done(folder, earlier):
            display.say(f"first its {role}: {file}, in {folder}")
            _train_before(earlier, display)
            train(earlier, folder, devices=1, display=display)


def _where(config: RunConfig) -> Iterable[tuple[str, Any]]:
    """The settings that say how a run is carried out, not what it is, such as where its data lies.

    What its teacher says is none of them: the runs before it have another teacher, or none.
    """
    mine = flat(config.model_dump(mode="json", exclude={"cache"}))
    return ((key, mine[key]) for key in INERT if mine.get(key) is not None)
