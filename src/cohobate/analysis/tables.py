"""A comparison as a table: for people (terminal, pipe, Markdown, LaTeX) and for programs (CSV, JSON)."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from cohobate.analysis.comparison import Comparison
from cohobate.analysis.rows import Row, percent

Lines = Sequence[Sequence[str]]
"""The cells of a table, line by line, the headings first."""


class Column(NamedTuple):
    """A column: the field of `Row` that it sorts by, where in a run's folder its numbers stand, and how a row shows.

    TITLE and SCORE stand for what the task calls its score. main: whether it is shown where there is no room for all. One that no row has a value for is not
        shown at all.
    """

    heading: str
    field: str
    source: str
    meaning: str
    show: Callable[[Row], str]
    main: bool = False


COLUMNS = (
    Column("method", "label", "config.toml, method", "and the options that set it apart", lambda r: r.label, main=True),
    Column("chosen", "chosen", "metrics.jsonl, last row, val/SCORE", "of the values that were tried, by the mean TITLE of the validation images at the last epoch", lambda r: "–" if r.chosen is None else "yes" if r.chosen else "no", main=True),
    Column("seeds", "seeds", "config.toml, seed", "finished runs", lambda r: str(r.seeds), main=True),
    Column("epochs", "epochs", "config.toml, optim.epochs", "of a run", lambda r: str(r.epochs)),
    Column("TITLE (%)", "score", "metrics.jsonl, last row, test/SCORE", "of the test images at the last epoch, mean ± standard deviation over seeds (that of a sample, n − 1)", lambda r: f"{percent(r.score)} ± {percent(r.score_sd)}", main=True),
    Column("top-5 (%)", "top5", "metrics.jsonl, last row, test/top5", "likewise, for the five likeliest classes", lambda r: "–" if r.top5 is None else f"{percent(r.top5)} ± {percent(r.top5_sd)}"),
    Column("diff.", "difference", "metrics.jsonl, last row, test/SCORE, less the baseline’s", "of TITLE to the baseline, in points, over the seeds that both have", lambda r: percent(r.difference, "+"), main=True),
    Column("95 % interval", "low", "outcomes.json, beside the baseline’s", "of the difference, by a bootstrap over seeds and test images that allows for few seeds, for each method by itself: of twenty that change nothing, one is expected to show a difference", lambda r: "–" if r.low is None else f"[{percent(r.low, '+')}, {percent(r.high, '+')}]", main=True),
    Column("best val (%)", "best_val", "metrics.jsonl, every row, val/SCORE", "TITLE of the validation images at each run’s best epoch", lambda r: percent(r.best_val)),
    Column("last val (%)", "last_val", "metrics.jsonl, last row, val/SCORE", "TITLE of the validation images at the last epoch", lambda r: percent(r.last_val)),
    Column("oracle (%)", "oracle", "metrics.jsonl, every row, oracle/SCORE", "best TITLE of the test images of any epoch: the test images chose it, so it is no result", lambda r: percent(r.oracle)),
    Column("params (M)", "parameters", "environment.json, cost.parameters", "millions of parameters in the network that is deployed", lambda r: f"{r.parameters / 1e6:.2f}"),
    Column("trained (M)", "trained_parameters", "environment.json, cost.trained_parameters", "millions of parameters in training, heads included", lambda r: f"{r.trained_parameters / 1e6:.2f}"),
    Column("cost", "cost", "environment.json, cost.step_macs and cost.supervised_macs", "multiply-adds of a training step, forward and backward and with the teacher’s, that of supervised on the same network being 1; – for runs that were begun before it was written down", lambda r: "–" if r.cost is None else f"{r.cost:.2f}", main=True),
    Column("step (GMAC)", "step_operations", "environment.json, cost.step_macs, times the images of a batch", "the multiply-adds of a training step themselves, in thousands of millions", lambda r: "–" if r.step_operations is None else f"{r.step_operations / 1e9:,.2f}"),
    Column("share", "share", "environment.json, cost.step_macs, and metrics.jsonl, last row, step", "of the baseline’s operations in a whole training; where a budget makes them equal, as nearly as whole epochs can", lambda r: "–" if r.share is None else f"{r.share:.2f}", main=True),
    Column("images/s", "images_per_second", "metrics.jsonl, every row, images_per_second", "that steps were taken on, those included that a method draws besides (pairs, repeats); median over epochs", lambda r: f"{r.images_per_second:,.0f}"),
    Column("minutes", "minutes", "metrics.jsonl, every row, seconds", "of training a run, mean over seeds", lambda r: f"{r.minutes:.1f}" if r.minutes >= 1 else f"{r.minutes:#.2g}", main=True),
    Column("memory (MiB)", "memory", "environment.json, peak_memory_bytes", "most that the process of a run held, median over seeds, beyond what it began with", lambda r: "–" if r.memory is None else f"{r.memory / 2**20:,.0f}"),
    Column("mixed", "mixed", "environment.json", "what of code, libraries and hardware is not the same for all seeds", lambda r: r.mixed or "–", main=True),
)  # fmt: skip


def columns(comparison: Comparison) -> list[Column]:
    """The columns that some row has a value for, in the words of the task."""
    task = comparison.task

    def worded(text: str) -> str:
        return text.replace("TITLE", task.title).replace("SCORE", task.score)

    return [
        column._replace(
            heading=worded(column.heading),
            source=worded(column.source),
            meaning=worded(column.meaning),
        )
        for column in COLUMNS
        if any(getattr(row, column.field) is not None for row in comparison.rows)
    ]


def cells(comparison: Comparison, chosen: list[Column]) -> list[list[str]]:
    return [[column.show(row) for column in chosen] for row in comparison.rows]


def headings(chosen: list[Column]) -> list[str]:
    return [column.heading for column in chosen]


def as_text(comparison: Comparison) -> str:
    """Plain text, aligned and never wrapped, for pipes and log files."""
    chosen = columns(comparison)
    return aligned([headings(chosen), *cells(comparison, chosen)])


def aligned(lines: Lines) -> str:
    """Lines of cells, the headings first, as `as_text` has them."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in lines
    )


def as_rich(comparison: Comparison, width: int = 80) -> Table:
    """For a terminal of so many characters: methods wrap where there is no room, numbers never do.

    Where not all columns find room, those that are marked as `main` are shown.
    """
    chosen = columns(comparison)
    if _width(comparison, chosen) > width:
        chosen = [column for column in chosen if column.main]
    return framed([headings(chosen), *cells(comparison, chosen)])


def framed(lines: Lines) -> Table:
    """Lines of cells, the headings first, as `as_rich` has them."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for number, heading in enumerate(lines[0]):
        side = "right" if number else "left"
        table.add_column(
            "\n".join(wrap(heading, 8)), justify=side, no_wrap=number > 0, overflow="fold"
        )
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    return table


def _width(comparison: Comparison, chosen: list[Column]) -> int:
    """The characters that a table takes whose first column is wrapped to `NARROW`."""
    lines = [*cells(comparison, chosen), *zip(*(wrap(h, 8) + [""] * 3 for h in headings(chosen)))]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return min(widths[0], NARROW) + sum(width + 1 for width in widths[1:])


NARROW = 20
"""Characters to which the names of methods may be wrapped."""


def as_markdown(comparison: Comparison) -> str:
    """With what is to be known of it below: budget, findings and warnings."""
    chosen = columns(comparison)
    sentences = [comparison.budget, *comparison.findings, *comparison.tuned]
    lines = [headings(chosen), *cells(comparison, chosen)]
    return piped(lines, sentences, comparison.warnings)


def piped(lines: Lines, sentences: Sequence[str], warnings: Sequence[str]) -> str:
    """Lines of cells, the headings first, in Markdown, with what is to be known of them below."""
    first, *rest = ([_markdown(cell) for cell in line] for line in lines)
    rule = ["---", *["---:"] * (len(first) - 1)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (first, rule, *rest))
    said = [each for each in sentences if each]
    said += [f"To be wary of: {warning}" for warning in warnings]
    below = "\n".join(f"- {_markdown(sentence)}" for sentence in said)
    return f"{table}\n\n{below}" if below else table


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def as_latex(comparison: Comparison) -> str:
    """A `tabular` in the manner of the package booktabs, which has to be loaded; warnings as comments."""
    chosen = columns(comparison)
    said = [f"% {each}" for each in (comparison.budget, *comparison.warnings) if each]
    return "\n".join([*said, tabular([headings(chosen), *cells(comparison, chosen)])])


def tabular(lines: Lines) -> str:
    """Lines of cells, the headings first, as `as_latex` has them."""
    first, *rest = (" & ".join(map(_latex, line)) + r" \\" for line in lines)
    return "\n".join(
        [
            f"\\begin{{tabular}}{{l{'r' * (len(lines[0]) - 1)}}}",
            r"\toprule",
            first,
            r"\midrule",
            *rest,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "→": r"$\rightarrow$",
}
"""What LaTeX reads as markup, or may have no letter for."""


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def raw(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows as numbers, the score under the task's name for it: `top1`, `top1_sd`."""
    own = {"score": comparison.task.score, "score_sd": f"{comparison.task.score}_sd"}
    return [{own.get(k, k): v for k, v in asdict(row).items()} for row in comparison.rows]


def as_csv(comparison: Comparison) -> str:
    text = io.StringIO()
    rows = raw(comparison)
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(comparison: Comparison) -> str:
    """The rows in raw numbers, the folders of their runs, and all that is said of them."""
    table = {
        "budget": comparison.budget or None,
        "rows": raw(comparison),
        "runs": {each.label: [str(run.path) for run in each.runs] for each in comparison.groups},
        "findings": comparison.findings,
        "tuned": comparison.tuned,
        "warnings": comparison.warnings,
    }
    return json.dumps(table, indent=2, ensure_ascii=False)


FILES = {"md": as_markdown, "csv": as_csv, "tex": as_latex, "json": as_json}


def write(comparison: Comparison, folder: Path) -> None:
    """Writes `comparison.md`, `.csv`, `.tex` and `.json` into a folder."""
    texts = {suffix: render(comparison) for suffix, render in FILES.items()}
    write_files(texts, folder, "comparison")


def write_files(texts: Mapping[str, str], folder: Path, name: str) -> None:
    """Writes texts, by the suffix of their file."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in texts.items():
        (folder / f"{name}.{suffix}").write_text(text.rstrip("\n") + "\n", encoding="utf-8")
