"""Run folders, read back from the files that a training left there."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cohobate.config import INERT
from cohobate.outcomes import Outcomes
from cohobate.tables import numbered, unnumbered

NEEDED = {
    "config.toml": ("seed", "data.name", "model.arch", "method.name", "optim.epochs"),
    "environment.json": ("cost.parameters", "cost.trained_parameters"),
}


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one: `{"optim": {"lr": 0.1}}` becomes `{"optim.lr": 0.1}`.

    The first of a list of tables becomes `before.1`, and so on.
    """
    settings: dict[str, Any] = {}
    for key, value in table.items():
        value = numbered(value)
        deeper = isinstance(value, dict)
        settings |= flat(value, f"{prefix}{key}.") if deeper else {prefix + key: value}
    return settings


def shown(value: Any) -> str:
    """A setting as people write it: `crop, flip` for a list; `unset` for none."""
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return "unset" if value is None else str(value)


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    rows: list[dict[str, Any]]
    outcomes: Outcomes | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config without nesting, and without what makes no other experiment, such as the seed."""
        return {
            key: value
            for key, value in flat(self.config).items()
            if key != "seed" and unnumbered(key) not in INERT
        }

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def epochs(self) -> int:
        return self.config["optim"]["epochs"]

    @property
    def finished(self) -> bool:
        return len(self.rows) == self.epochs and "test/top1" in self.rows[-1]

    @property
    def score(self) -> float:
        """Test accuracy at the last epoch, of a finished run."""
        return self.rows[-1]["test/top1"]

    @property
    def images(self) -> dict[str, str]:
        """A fingerprint of the images of each split; of the splits that the run tells of."""
        test = {"test": self.outcomes.fingerprint} if self.outcomes else {}
        return {**test, **self.environment.get("images", {})}

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
        run = cls(path, config, environment, rows)
        if not (path / "outcomes.json").exists():
            return run
        outcomes = parsed(path / "outcomes.json", lambda text: Outcomes.of(table(text)))
        if run.finished and abs(outcomes.top1 - run.score) > 0.5 / len(outcomes.right):
            raise ValueError(
                f"{path / 'outcomes.json'} is of another network: {100 * outcomes.top1:.2f} % are"
                f" right there, and {100 * run.score:.2f} % in metrics.jsonl"
            )
        return replace(run, outcomes=outcomes)


def parsed(file: Path, parse: Callable[[str], Any], empty: Any = None) -> Any:
    """What a file of a run folder holds; `empty`, where that is given and there is no such file."""
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if empty is not None and file.parent.is_dir():
            return empty
        raise ValueError(f"{file.parent} is not a run folder: it has no {file.name}") from None
    except ValueError as error:  # of TOML, of JSON, or of the encoding
        raise ValueError(f"{file} is damaged: {error}") from None


def table(text: str) -> dict[str, Any]:
    """A table in JSON."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no table")
    return found


def lines(text: str) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`: the epochs from 0 on, none missing."""
    rows = []
    for number, line in enumerate(text.splitlines()):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise ValueError(f"line {number + 1} is not JSON; was it cut off?") from None
        if not isinstance(rows[-1], dict) or rows[-1].get("epoch") != number:
            raise ValueError(f"line {number + 1} is not epoch {number}")
    return rows
