"""A comparison as a table: for people (terminal, pipe, Markdown) and for programs (CSV, JSON)."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from cohobate.analysis.comparison import Comparison, Row, percent


class Column(NamedTuple):
    """A column: the field of `Row` that it sorts by, where in a run's folder its numbers stand, and how a row shows in it."""

    heading: str
    field: str
    source: str
    meaning: str
    show: Callable[[Row], str]


COLUMNS = (
    Column("method", "label", "config.toml, method", "and the options that set it apart", lambda r: r.label),
    Column("seeds", "seeds", "config.toml, seed", "finished runs", lambda r: str(r.seeds)),
    Column("top-1 (%)", "top1", "metrics.jsonl, last row, test/top1", "test accuracy at the last epoch, mean ± standard deviation over seeds", lambda r: f"{percent(r.top1)} ± {percent(r.top1_sd)}"),
    Column("diff.", "difference", "metrics.jsonl, last row, test/top1, less the baseline’s", "mean less that of the baseline, in points", lambda r: percent(r.difference, "+")),
    Column("best val (%)", "best_val", "metrics.jsonl, every row, val/top1", "validation accuracy at each run’s best epoch", lambda r: percent(r.best_val)),
    Column("last val (%)", "last_val", "metrics.jsonl, last row, val/top1", "validation accuracy at the last epoch", lambda r: percent(r.last_val)),
    Column("params (M)", "parameters", "environment.json, cost.parameters", "millions of parameters in the network that is deployed", lambda r: f"{r.parameters / 1e6:.2f}"),
    Column("trained (M)", "trained_parameters", "environment.json, cost.trained_parameters", "millions of parameters in training, heads included", lambda r: f"{r.trained_parameters / 1e6:.2f}"),
    Column("cost", "passes", "environment.json, cost.training_macs and cost.macs", "multiply-adds of a training step’s forward passes for each image, that of the deployed network being 1", lambda r: "–" if r.passes is None else f"{r.passes:.2f}"),
    Column("images/s", "images_per_second", "metrics.jsonl, every row, images_per_second", "median over epochs", lambda r: f"{r.images_per_second:,.0f}"),
    Column("minutes", "minutes", "metrics.jsonl, every row, seconds", "of training a run, mean over seeds", lambda r: f"{r.minutes:.1f}"),
)  # fmt: skip


def cells(comparison: Comparison) -> list[list[str]]:
    return [[column.show(row) for column in COLUMNS] for row in comparison.rows]


def headings() -> list[str]:
    return [column.heading for column in COLUMNS]


def as_text(comparison: Comparison) -> str:
    """Plain text, aligned and never wrapped, for pipes and log files."""
    lines = [headings(), *cells(comparison)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in lines
    )


def as_rich(comparison: Comparison) -> Table:
    """For a terminal: narrow enough for 80 columns; where it is not, methods wrap and numbers never do."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for number, heading in enumerate(headings()):
        side = "right" if number else "left"
        table.add_column(
            heading.replace(" ", "\n"), justify=side, no_wrap=number > 0, overflow="fold"
        )
    for line in cells(comparison):
        table.add_row(*map(Text, line))
    return table


def as_markdown(comparison: Comparison) -> str:
    rule = ["---", *["---:"] * (len(COLUMNS) - 1)]
    escaped = [
        [cell.replace("|", "\\|").replace("<", "&lt;") for cell in line]
        for line in cells(comparison)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings(), rule, *escaped))


def as_csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in comparison.rows)
    return text.getvalue()


def as_json(comparison: Comparison) -> str:
    return json.dumps([asdict(row) for row in comparison.rows], indent=2)


def write(comparison: Comparison, folder: Path) -> None:
    """Writes `table.md`, `table.csv` and `table.json` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, render in (("md", as_markdown), ("csv", as_csv), ("json", as_json)):
        (folder / f"table.{suffix}").write_text(render(comparison) + "\n", encoding="utf-8")
