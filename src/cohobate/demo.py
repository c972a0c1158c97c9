"""`cohobate demo`: a few digits, a network trained plainly and one that teaches itself."""

from importlib.resources import as_file, files
from pathlib import Path

from cohobate import build, config
from cohobate.analysis import comparison, report
from cohobate.analysis.comparison import Comparison
from cohobate.display import Lines
from cohobate.train import train

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
    folders = []
    with as_file(files("cohobate") / "demo.toml") as file:
        for seed in range(seeds):
            for method in METHODS:
                settings = config.load(file, [f"method.name={method}", f"seed={seed}"])
                folder = out / "runs" / method / f"seed{seed}"
                display.say(
                    f"run {len(folders) + 1} of {seeds * len(METHODS)}: {method}, seed {seed}"
                )
                rows = train(build.resolve(settings)[0], folder, devices=1, display=display)
                display.say(f"    test top-1 {100 * rows[-1]['test/top1']:.2f} %")
                folders.append(folder)
    found = comparison.compare(folders)
    page = report.write_report(
        found,
        out / "report.html",
        title="A network that teaches itself",
        intro=INTRO,
        command="cohobate demo",
    )
    return found, page
