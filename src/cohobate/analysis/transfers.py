"""What pre-training is worth on other tasks: its methods in rows, the tasks in columns."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.table import Table

from cohobate.analysis import tables
from cohobate.analysis.cautions import MACHINE, difference, machine
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.groups import Group, data_sets, differing
from cohobate.analysis.rows import paired, percent, spread
from cohobate.analysis.runs import Run

BEFORE = "pre-training"
"""The column of the runs that come before the others."""


@dataclass(frozen=True)
class Column:
    """A task, and the run in which each network was put to it, by the folder of its pre-training.

    data: the name of the data set. metric: what people call the score that counts.
    """

    name: str
    data: str
    metric: str
    runs: Mapping[Path, Run]


@dataclass(frozen=True)
class Cell:
    """A method of pre-training on a task, in raw numbers: scores are shares; None where nothing was measured.

    seeds: the networks that were put to the task; networks: those that there are.
    score: on the test images at the last epoch, the mean over seeds; `score_sd` their spread.
    difference: to the method `baseline`, over the seeds that both have; `low` and `high` bound it, as
        in a comparison.
    """

    method: str
    task: str
    data: str
    metric: str
    seeds: int
    networks: int
    score: float | None
    score_sd: float | None
    baseline: str | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def shown(self) -> str:
        if self.score is None:
            return "–"
        some = f" ({self.seeds} of {self.networks})" if self.seeds < self.networks else ""
        return f"{percent(self.score)} ± {percent(self.score_sd)}{some}"

    @property
    def apart(self) -> str:
        """The difference, with its interval."""
        bounds = f" [{percent(self.low, '+')}, {percent(self.high, '+')}]"
        return percent(self.difference, "+") + (bounds if self.low is not None else "")


@dataclass(frozen=True)
class Transfers:
    """The table: its columns, pre-training itself first, and its cells, a row for each method.

    warnings: what is to be known of it, the cells that are empty, or lack seeds, among that.
    """

    columns: list[Column]
    rows: list[list[Cell]]
    warnings: list[str]

    @property
    def headings(self) -> list[str]:
        """Of the columns: what was scored, and how; the task's own name where that is not enough."""
        plain = [f"{column.data} {column.metric} (%)" for column in self.columns]
        return [
            text if plain.count(text) == 1 else f"{column.name} {column.metric} (%)"
            for text, column in zip(plain, self.columns)
        ]


def transfers(
    comparison: Comparison, columns: Sequence[Column], told: Sequence[str] = ()
) -> Transfers:
    """The rows of a comparison, put to other tasks.

    told: sentences that come before the warnings.
    """
    groups = comparison.groups
    first = groups[0].runs[0].task
    before = Column(
        BEFORE, ", ".join(data_sets(groups)), first.title, {r.path: r for r in comparison.runs}
    )
    every = [before, *columns]
    moved = [[_moved(group, column) for column in every] for group in groups]
    place = {group.label: number for number, group in enumerate(groups)}
    baselines = [row.baseline for row in comparison.rows]
    rows = [
        [
            _cell(column, mine, len(group.runs), moved[place[base]][number] if base else None)
            for number, (column, mine) in enumerate(zip(every, own))
        ]
        for group, own, base in zip(groups, moved, baselines)
    ]
    apart = [sentence for each in zip(columns, list(zip(*moved))[1:]) for sentence in _apart(*each)]
    return Transfers(every, rows, [*told, *_lacking(columns, groups), *apart])


def _moved(group: Group, column: Column) -> Group:
    """A group, with the runs in which its networks were put to a task."""
    runs = [column.runs[run.path] for run in group.runs if run.path in column.runs]
    return Group(group.label, group.settings, runs)


def _cell(column: Column, own: Group, networks: int, baseline: Group | None) -> Cell:
    score, score_sd = spread(own, lambda run: run.score) if own.runs else (None, None)
    difference, bounds = paired(own, baseline) if baseline else (None, None)
    return Cell(
        method=own.label,
        task=column.name,
        data=column.data,
        metric=column.metric,
        seeds=len(own.runs),
        networks=networks,
        score=score,
        score_sd=score_sd,
        baseline=baseline and baseline.label,
        difference=difference,
        low=bounds and bounds.low,
        high=bounds and bounds.high,
    )


def _apart(column: Column, groups: Sequence[Group]) -> list[str]:
    """What of code, libraries, hardware and test images the runs of a task do not share."""
    there = [group for group in groups if group.runs]
    found = differing([run.environment for group in there for run in group.runs])
    told = [
        difference(name, [place for group in there for place in machine(name, group)])
        for name in found
        if name in MACHINE
    ]
    images = [(mark[:8], group.label) for group in there for mark in sorted(group.tested)]
    if len({mark for mark, _ in images}) > 1:
        told.append(difference("fingerprint of the test images", images))
    return [f"{column.name}: {sentence}" for sentence in told]


def _lacking(columns: Sequence[Column], groups: Sequence[Group]) -> list[str]:
    """A sentence for each task to which not all networks were put."""
    told = []
    for column in columns:
        lacking = {
            group.label: sorted(run.seed for run in group.runs if run.path not in column.runs)
            for group in groups
        }
        cells = [
            f"{label} (seed {', '.join(map(str, seeds))})"
            for label, seeds in lacking.items()
            if seeds
        ]
        if cells:
            told.append(f"{column.name} has no score of {', '.join(cells)}")
    return told


def lines(found: Transfers) -> list[list[str]]:
    """The cells as text, the headings first; differences where some row has one."""
    apart = any(cell.baseline for row in found.rows for cell in row)
    first = ["method", "seeds"]
    for heading in found.headings:
        first += [heading, "diff. [95 %]"] if apart else [heading]
    texts = []
    for row in found.rows:
        line = [row[0].method, str(row[0].networks)]
        for cell in row:
            line += [cell.shown, cell.apart] if apart else [cell.shown]
        texts.append(line)
    return [first, *texts]


def as_text(found: Transfers) -> str:
    return tables.aligned(lines(found))


def as_rich(found: Transfers) -> Table:
    return tables.framed(lines(found))


def as_csv(found: Transfers) -> str:
    """A line a cell, in raw numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(cell) for row in found.rows for cell in row)
    return text.getvalue()


def as_json(found: Transfers) -> str:
    """The cells in raw numbers, the scores by seed and the folders that they stand in, and all that is said."""
    table = {
        "tasks": [
            {
                "name": column.name,
                "data": column.data,
                "metric": column.metric,
                "runs": {
                    str(before): {"folder": str(run.path), "seed": run.seed, "score": run.score}
                    for before, run in column.runs.items()
                },
            }
            for column in found.columns
        ],
        "rows": [asdict(cell) for row in found.rows for cell in row],
        "warnings": found.warnings,
    }
    return json.dumps(table, indent=2, ensure_ascii=False)


def write(found: Transfers, folder: Path) -> None:
    """Writes `transfer.md`, `.csv`, `.tex` and `.json` into a folder."""
    texts = {
        "md": tables.piped(lines(found), [], found.warnings),
        "csv": as_csv(found),
        "tex": tables.tabular(lines(found)),
        "json": as_json(found),
    }
    tables.write_files(texts, folder, "transfer")
