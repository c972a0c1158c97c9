"""Commands that train and score."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cohobate.cli.app import Out, Settings, app, command, display, transfer
from cohobate.display import number, show
from cohobate.ending import is_first_process


@app.command()
def train(
    file: Annotated[Path, typer.Argument(metavar="RUN.toml", help="A run file.")],
    settings: Settings = None,
    out: Out = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes to train on, a GPU each where there are any.")
    ] = 1,
) -> None:
    """Train a network; on the folder of an earlier run, go on where it stopped."""
    from cohobate import build, config
    from cohobate.train import train

    resolved, notes = build.resolve(config.load(file, settings or []))
    folder = out or build.default_folder(resolved)
    shown = display()
    for note in notes:
        shown.say(note)
    rows = train(resolved, folder, devices=devices, display=shown)
    if is_first_process():
        scores = {key: value for key, value in rows[-1].items() if key.startswith("test/")}
        shown.say(f"{folder}: " + ", ".join(f"{k} {number(k, v)}" for k, v in scores.items()))


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a run.")],
    settings: Settings = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
) -> None:
    """Score a trained network on a split of its data."""
    from cohobate.scores import evaluate

    scores = evaluate(folder, split, settings or [])
    show(["score", split], [(name, number(name, value)) for name, value in scores.items()])


@transfer.command()
def linear(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a run, or of a network.")
    ],
    settings: Settings = None,
) -> None:
    """Score the frozen features on other data: data.name=NAME data.root=FOLDER."""
    from cohobate.transfer import NEIGHBOURS, linear

    scores = linear(folder, settings or [])
    show(
        ["data", "train", "test", "linear top1", f"{NEIGHBOURS}-NN top1"],
        [
            (
                scores.data,
                f"{scores.train:,}",
                f"{scores.test:,}",
                number("top1", scores.linear),
                number("top1", scores.neighbours),
            )
        ],
    )


@app.command()
def compare(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="(RUN_FOLDER | RUN.toml)... [KEY=VALUE]...",
            help="Runs that are done; run files, whose runs are trained first; settings of these.",
        ),
    ],
    out: Out = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods to train, such as supervised,mixskd.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds to train of each run.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="A setting and its values, such as method.alpha=0.2,0.4; repeatable."),
    ] = None,
) -> None:
    """Put runs side by side: a table here, and curves in a report. Trains what is missing."""
    from cohobate import study
    from cohobate.analysis import comparison, report, tables
    from cohobate.rundir import check_folder

    places = [Path(text) for text in given if "=" not in text or Path(text).exists()]
    settings = [text for text in given if Path(text) not in places]
    files = [path for path in places if path.suffix == ".toml"]
    sweeps = dict(study.sweep(text) for text in sweep or [])
    if methods:
        sweeps["method.name"] = methods.split(",")
    if not files and (settings or sweeps or seeds):
        raise ValueError(
            "settings, --methods, --seeds and --sweep are for run files: give RUN.toml"
        )
    folder = out or study.default_folder(files)
    check_folder(folder)
    folders = [path for path in places if path not in files]
    if files:
        planned = study.plan(files, settings, sweeps, seeds)
        folders += study.carry_out(planned, folder / "runs", display(epochs=False))
    found = comparison.compare(folders)
    show_comparison(found)
    tables.write(found, folder)
    page = folder / "report.html"
    report.write_report(found, page, title="Comparison", command=command())
    print(f"curves and details: {page}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path("out/demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method.")] = 3,
) -> None:
    """Train a network on a few digits, plainly and with MixSKD, and write a report."""
    from cohobate.demo import demo

    found, page = demo(out, seeds, display(epochs=False))
    show_comparison(found)
    print(f"\nopen {page} in a browser")


def show_comparison(found: Any) -> None:
    from cohobate.analysis import tables

    console = Console()
    if console.is_terminal:
        console.print(tables.as_rich(found))
    else:
        print(tables.as_text(found))
    for sentence in found.findings:
        print(sentence)
    for sentence in found.warnings:
        print(f"warning: {sentence}")
