"""Run folders, read back from the files that a training left there."""

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cohobate.config import INERT
from cohobate.core import unknown
from cohobate.outcomes import Outcomes, Overlaps
from cohobate.tables import flat, unnumbered
from cohobate.tasks import TASKS, Task

NEEDED = {
    "config.toml": ("seed", "data.name", "model.arch", "method.name", "optim.epochs"),
    "environment.json": ("cost.parameters", "cost.trained_parameters"),
}


MEASURED = ("step", "seconds", "images_per_second")
"""What every row of `metrics.jsonl` holds, besides its epoch."""


def shown(value: Any) -> str:
    """A setting as people write it: `crop, flip` for a list; `unset` for none."""
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, float):
        return str(float(f"{value:.12g}"))  # a scaled warm-up is 1.2, and not 1.2000000000000002
    return "unset" if value is None else str(value)


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    rows: list[dict[str, Any]]
    outcomes: Outcomes | Overlaps | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config without nesting, and without what makes no other experiment, such as the seed."""
        return {
            key: value
            for key, value in flat(self.config).items()
            if unnumbered(key) != "seed" and unnumbered(key) not in INERT
        }

    @property
    def task_name(self) -> str:
        return self.config.get("task", "classification")

    @property
    def task(self) -> Task:
        return TASKS[self.task_name]

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def epochs(self) -> int:
        return self.config["optim"]["epochs"]

    @property
    def finished(self) -> bool:
        return len(self.rows) == self.epochs and f"test/{self.task.score}" in self.rows[-1]

    @property
    def score(self) -> float:
        """The score that counts, on the test images at the last epoch, of a finished run."""
        return self.rows[-1][f"test/{self.task.score}"]

    @property
    def root(self) -> str | None:
        """Where its data lay, which makes no other experiment as long as it is the same data."""
        return self.config["data"].get("root")

    @property
    def images(self) -> dict[str, str]:
        """A fingerprint of the images of each split; of the splits that the run tells of."""
        test = {"test": self.outcomes.fingerprint} if self.outcomes else {}
        return {**self.environment.get("images", {}), **test}

    def trained_like(self, other: "Run") -> bool:
        """Whether two runs may have learnt from the same images: unless it is known that not."""
        return self._shares("train", other)

    def tested_like(self, other: "Run") -> bool:
        """Whether two runs may have been scored on the same images: unless it is known that not."""
        return self._shares("test", other)

    def _shares(self, split: str, other: "Run") -> bool:
        ours, theirs = (run.images.get(split) for run in (self, other))
        return None in (ours, theirs) or ours == theirs

    def values(self, name: str) -> list[float]:
        """What `metrics.jsonl` holds under a name, in the order of the epochs."""
        return [row[name] for row in self.rows if name in row]

    @classmethod
    def read(cls, path: str | Path) -> "Run":
        path = Path(path)
        config = parsed(path / "config.toml", tomllib.loads)
        environment = parsed(path / "environment.json", table)
        rows = parsed(path / "metrics.jsonl", lines, empty=[])
        for name, found in ("config.toml", config), ("environment.json", environment):
            if missing := [key for key in NEEDED[name] if key not in flat(found)]:
                raise ValueError(f"{path / name} does not say {', '.join(missing)}")
        if (task := config.get("task", "classification")) not in TASKS:
            raise unknown(f"task in {path / 'config.toml'}", task, TASKS)
        run = cls(path, config, environment, rows)
        kind = run.task.outcomes
        if kind is None or not (path / "outcomes.json").exists():
            return run
        outcomes = parsed(path / "outcomes.json", lambda text: kind.of(table(text)))
        if run.finished and abs(outcomes.score - run.score) > 0.5 * outcomes.least:
            raise ValueError(
                f"{path / 'outcomes.json'} is of another network: its {run.task.title} is"
                f" {100 * outcomes.score:.2f} % there, and {100 * run.score:.2f} % in metrics.jsonl"
            )
        there: str = outcomes.fingerprint
        seen = run.images.get("test") or there
        if there != seen:
            raise ValueError(
                f"{path / 'outcomes.json'} is of other images: their fingerprint is {there[:8]} there,"
                f" and {seen[:8]} in environment.json"
            )
        return replace(run, outcomes=outcomes)


def check_task(runs: Sequence[Run]) -> None:
    """Raises ValueError where runs are not of one task: their scores are not to be compared."""
    first = runs[0]
    for other in runs:
        if other.task is not first.task:
            raise ValueError(
                f"{first.path} is a run of task={first.task_name}, and {other.path} of"
                f" task={other.task_name}: give runs of one task"
            )


def parsed(file: Path, parse: Callable[[str], Any], empty: Any = None) -> Any:
    """What a file of a run folder holds; `empty`, where that is given and there is no such file."""
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if empty is not None and file.parent.is_dir():
            return empty
        if not file.parent.exists():
            raise ValueError(f"there is no folder {file.parent}") from None
        reason = f"{file.parent} is not a run folder: it has no {file.name}"
        if below := next(file.parent.glob(f"*/{file.name}"), None) or next(
            file.parent.glob(f"*/*/{file.name}"), None
        ):
            reason += f", but runs lie in it: name those, such as {below.parent}"
        raise ValueError(reason) from None
    except ValueError as error:  # of TOML, of JSON, or of the encoding
        raise ValueError(f"{file} is damaged: {error}") from None


def table(text: str) -> dict[str, Any]:
    """A table in JSON."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no table")
    return found


def lines(text: str) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`: the epochs from 0 on, none missing, and numbers only."""
    rows = []
    for number, line in enumerate(text.splitlines()):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise ValueError(f"line {number + 1} is not JSON; was it cut off?") from None
        if not isinstance(rows[-1], dict) or rows[-1].get("epoch") != number:
            raise ValueError(f"line {number + 1} is not epoch {number}")
    for number, row in enumerate(rows, start=1):
        if missing := [name for name in MEASURED if name not in row]:
            raise ValueError(f"line {number} does not say {', '.join(missing)}")
        for name, value in row.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"line {number}: {name} is {json.dumps(value)}, and no number")
    return rows
