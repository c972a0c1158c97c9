"""A comparison as one self-contained HTML page: it opens without a network and asks for none."""

from datetime import date
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from cohobate.analysis import figures, sweeps
from cohobate.analysis.comparison import Comparison, differing
from cohobate.analysis.runs import flat, shown
from cohobate.analysis.tables import COLUMNS

PAGES = Environment(
    loader=PackageLoader("cohobate.analysis"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters |= {"shown": shown, "flat": flat}


def write_report(
    comparison: Comparison, path: str | Path, *, title: str, intro: str = "", command: str = ""
) -> Path:
    """Writes the page and returns its path. `intro` is plain text; `command` makes the page anew."""
    drawn = {
        "scores": figures.scores(comparison),
        "learning-curves": figures.learning_curves(comparison),
    }
    terms = {f"term-{i}": each for i, each in enumerate(figures.loss_terms(comparison).values())}
    grids = sweeps.figures(comparison)
    names = {method: f"sweep-{i}" for i, method in enumerate(grids)}
    drawn |= {names[method]: each for method, each in grids.items()}
    settings = comparison.runs[0].settings
    apart = differing([run.settings for run in comparison.runs])
    page = PAGES.get_template("report.html").render(
        title=title,
        intro=intro,
        command=command,
        comparison=comparison,
        columns=COLUMNS,
        styles=figures.styles(comparison),
        figures={name: figure.to_plotly_json() for name, figure in (drawn | terms).items()},
        terms=list(terms),
        sweeps=names,
        apart=apart,
        shared={name: value for name, value in settings.items() if name not in apart},
        plotly=get_plotlyjs(),
        version=version("cohobate"),
        today=date.today(),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
