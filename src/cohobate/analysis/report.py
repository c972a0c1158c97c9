"""A comparison or an analysis as one self-contained HTML page: it opens without a network and asks for none."""

from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from itertools import count
from math import log
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from cohobate.analysis import curves, figures, gallery, precision, sweeps, tables
from cohobate.analysis.calibration import BINS
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.portrait import Analysis, columns
from cohobate.analysis.rows import percent
from cohobate.analysis.runs import Run, shown
from cohobate.analysis.setup import Setup
from cohobate.analysis.transfers import Transfers
from cohobate.analysis.view import title

PAGES = Environment(
    loader=PackageLoader("cohobate.analysis"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters |= {"shown": shown, "titled": title}


def write_report(
    comparison: Comparison,
    path: str | Path,
    *,
    title: str,
    intro: str = "",
    command: str = "",
    transfers: Transfers | None = None,
) -> Path:
    """Writes the page and returns its path. `intro` is plain text; `command` makes the page anew.

    transfers: of the networks that are compared, to other tasks.
    """
    drawn = figures.figures(comparison) | {"learning-curves": curves.learning_curves(comparison)}
    terms = {f"term-{i}": each for i, each in enumerate(curves.loss_terms(comparison).values())}
    grids = sweeps.figures(comparison)
    names = {method: f"sweep-{i}" for i, method in enumerate(grids)}
    drawn |= {names[method]: each for method, each in grids.items()}
    labelled = [(group.label, run) for group in comparison.groups for run in group.runs]
    return _write(
        path,
        "report.html",
        drawn | terms,
        title=title,
        intro=intro,
        command=command,
        comparison=comparison,
        transfers=transfers,
        columns=tables.columns(comparison),
        styles=figures.styles(comparison),
        number=count(1).__next__,
        terms=list(terms),
        bare=curves.without_validation(comparison),
        sweeps=names,
        setup=Setup.of(labelled),
    )


def write_analysis(
    analysis: Analysis,
    path: str | Path,
    *,
    title: str,
    intro: str = "",
    command: str = "",
    comparison: Comparison | None = None,
    runs: Sequence[tuple[str, Run]] = (),
) -> Path:
    """Writes the page of an analysis, and returns its path; the rest as for `write_report`.

    comparison: of the runs that are done, for what is drawn of them. runs: all of them, under their labels.
    """
    drawn, terms, grids = gallery.figures(analysis), {}, {}
    if comparison is not None and comparison.several and "comparison" in analysis.only:
        drawn |= figures.figures(comparison)
    if comparison is not None and "curves" in analysis.only:
        drawn["learning-curves"] = curves.learning_curves(comparison)
        terms = {f"term-{i}": e for i, e in enumerate(curves.loss_terms(comparison).values())}
        grids = {f"sweep-{i}": e for i, e in enumerate(sweeps.figures(comparison).items())}
    drawn |= terms | {name: figure for name, (_, figure) in grids.items()}
    portraits = analysis.portraits
    return _write(
        path,
        "analysis.html",
        drawn,
        title=title,
        intro=intro,
        command=command,
        analysis=analysis,
        has=analysis.only.__contains__,
        number=count(1).__next__,
        names=[portrait.label for portrait in portraits],
        errors=[f"{each.label}, ECE {percent(each.ece)} %" for each in portraits],
        softened=[f"T = {temperature:g}" for temperature in analysis.temperatures],
        columns=columns(analysis),
        lines=[precision.lines(run.curves, analysis.classes) for run in analysis.seen],
        dots=gallery.dots(analysis.classes),
        bins=BINS,
        most=log(max(1, len(analysis.names))),
        comparison=comparison,
        looks={} if comparison is None else figures.styles(comparison),
        terms=list(terms),
        bare=[] if comparison is None else curves.without_validation(comparison),
        sweeps={name: method for name, (method, _) in grids.items()},
        setup=Setup.of(runs) if runs else None,
    )


def _write(path: str | Path, template: str, drawn: dict[str, go.Figure], **more: Any) -> Path:
    """Writes a page from a template; each figure is drawn where the page has its name as an id."""
    page = PAGES.get_template(template).render(
        figures={name: figure.to_plotly_json() for name, figure in drawn.items()},
        plotly=get_plotlyjs(),
        version=version("cohobate"),
        today=date.today(),
        **more,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
