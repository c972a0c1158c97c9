"""Which runs a few run files stand for: what is varied, how often, and how long each is trained.

Nothing is trained here, but for the steps that `fit` times.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from cohobate import config as settings
from cohobate import defaults
from cohobate.analysis.groups import BASELINE
from cohobate.budget import Budget, lengths, scaled
from cohobate.config import Override, RunConfig
from cohobate.core import unknown
from cohobate.display import Lines
from cohobate.methods import asked
from cohobate.tables import flat

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
        methods = [str(name) for name in varied.get("method.name", ())]
        given = _options(methods, {*dict(stated), *keys})
        for seed, values in product(chosen, product(*(varied[key] for key in keys))):
            point = dict(zip(keys, values))
            own = asked(str(point["method.name"])) if methods else set[str]()
            foreign = {key for key in given if key.removeprefix("method.") not in own}
            point = {key: value for key, value in point.items() if key not in foreign}
            kept = [(key, value) for key, value in stated if key not in foreign]
            config = settings.load(file, [*kept, *point.items(), ("seed", seed)])
            config = defaults.resolve(config)[0]
            if len(varied.get("method.teacher", ())) == 1 and "method.teacher" in point:
                point.pop("method.teacher")
            title = _title(config, point, stem if len(files) > 1 else "")
            planned.setdefault(config.toml(), Planned(Path(title, f"seed{seed}"), config))
    return sorted(planned.values(), key=lambda run: run.config.seed)


def _options(methods: Sequence[str], given: Iterable[str]) -> set[str]:
    """Of the settings that are given, the options of [method] that some of several methods take.

    Raises ValueError for an option that none takes, where any takes options.
    """
    taken = set[str]().union(*map(asked, methods)) - {"samples"}
    options = {key.removeprefix("method.") for key in given if key.startswith("method.")} - {"name"}
    for name in options - taken if taken else ():
        raise unknown(f"option of {', '.join(methods)}", name, taken)
    return {f"method.{name}" for name in options & taken}


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
