"""How runs were made: what all of them share, told once, and what sets each apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cohobate.analysis.groups import differing
from cohobate.analysis.runs import Run, flat

Facts = dict[str, dict[str, Any]]
"""For `config.toml` and `environment.json`: the names in the file, and what they stand for."""


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
        """Of one run or more, each with its label."""
        labels, read = zip(*runs)
        every = [facts(run) for run in read]
        apart = {file: differing([own[file] for own in every]) for file in every[0]}
        return cls(
            shared={
                file: {name: value for name, value in told.items() if name not in apart[file]}
                for file, told in every[0].items()
            },
            runs=[
                Made(label, run, {f: {n: own[f][n] for n in apart[f] if n in own[f]} for f in own})
                for label, run, own in zip(labels, read, every)
            ],
        )


def facts(run: Run) -> Facts:
    return {"config.toml": flat(run.config), "environment.json": flat(run.environment)}
