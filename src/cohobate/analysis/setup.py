"""How runs were made: what all of them share, told once, and what sets each apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cohobate.analysis.groups import differing
from cohobate.analysis.runs import Run
from cohobate.tables import flat

FILES = ("config.toml", "environment.json")
Facts = dict[str, dict[str, Any]]
"""For each of the files: the names in it, and what they stand for."""


@dataclass(frozen=True)
class Made:
    """A run under its label, and the facts that it does not share with all others."""

    label: str
    run: Run
    apart: Facts


@dataclass(frozen=True)
class Setup:
    """The configs, environments and commands of runs."""

    shared: Facts
    runs: list[Made]

    @classmethod
    def of(cls, runs: Iterable[tuple[str, Run]]) -> "Setup":
        """Of runs, each with its label."""
        runs = list(runs)
        every = [facts(run) for _, run in runs]
        apart = {file: differing([own[file] for own in every]) for file in FILES}
        shared = {
            file: {name: value for name, value in own[file].items() if name not in apart[file]}
            for own in every[:1]
            for file in FILES
        }
        return cls(
            shared,
            [
                Made(
                    label, run, {f: {n: own[f][n] for n in apart[f] if n in own[f]} for f in FILES}
                )
                for (label, run), own in zip(runs, every)
            ],
        )


def facts(run: Run) -> Facts:
    return dict(zip(FILES, (flat(run.config), flat(run.environment))))
