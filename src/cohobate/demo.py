"""`cohobate demo`: a few digits, a network trained plainly and one that teaches itself."""

from importlib.resources import as_file, files
from pathlib import Path

from cohobate import planning, study
from cohobate.analysis import comparison, report
from cohobate.analysis.comparison import Comparison
from cohobate.display import Lines

METHODS = ("supervised", "mixskd")
INTRO = (
    "A small ResNet learns handwritten digits from eight labelled images of each class: once from"
    " the labels alone, and once with MixSKD, where the network and its mixtures of images teach"
    " each other. Each seed draws other images, other initial weights and another order."
)


def demo(out: Path, seeds: int, display: Lines) -> tuple[Comparison, Path]:
    """Trains what is not trained yet, and writes `report.html`.

    Returns the comparison and the path of the report. Raises what `train` raises.
    """
    with as_file(files("cohobate") / "demo.toml") as file:
        planned = planning.plan([file], sweeps={"method.name": METHODS}, seeds=seeds)
    folders, told = study.carry_out(planned, out / "runs", display)
    found = comparison.compare(folders, told=told)
    page = report.write_report(
        found,
        out / "report.html",
        title="A network that teaches itself",
        intro=INTRO,
        command="cohobate demo",
    )
    return found, page
