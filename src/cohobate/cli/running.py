"""Commands that train, and put runs side by side."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from cohobate.cli.app import Out, Settings, app, display
from cohobate.display import number
from cohobate.ending import is_first_process

Budget = Literal["epochs", "compute", "minutes"]
Devices = Annotated[
    int, typer.Option(min=1, help="Processes to train on, a GPU each where there are any.")
]


@app.command()
def train(
    file: Annotated[Path, typer.Argument(metavar="RUN.toml", help="A run file.")],
    settings: Settings = None,
    out: Out = None,
    devices: Devices = 1,
) -> None:
    """Train a network; on the folder of an earlier run, go on where it stopped."""
    from cohobate import config, defaults

    resolved, notes = defaults.resolve(config.load(file, settings or []))
    folder = out or defaults.default_folder(resolved)
    shown = display()
    for note in notes:
        shown.say(note)
    train_and_tell(resolved, folder, devices, shown)


def train_and_tell(config: Any, folder: Path, devices: int, shown: Any) -> None:
    """Trains a run, and says what it scores on test images."""
    from cohobate.train import train

    rows = train(config, folder, devices=devices, display=shown)
    if is_first_process():
        whole = (key for key in rows[-1] if key.startswith("test/") and key.count("/") == 1)
        scores = {key: rows[-1][key] for key in whole}  # not those of every class
        shown.say(f"{folder}: " + ", ".join(f"{k} {number(k, v)}" for k, v in scores.items()))


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
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            metavar='"(TASK | RUN.toml) [KEY=VALUE]..."',
            help="What to put each network to afterwards, such as 'linear data.name=stl10', as"
            " `cohobate transfer` takes it; repeatable.",
        ),
    ] = None,
    budget: Annotated[
        Budget,
        typer.Option(
            help="What all methods get equally much of: epochs, the baseline's operations, or minutes."
        ),
    ] = "epochs",
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs to train at a time, each on its share of the machine.")
    ] = 1,
    runs: Annotated[
        Path | None,
        typer.Option(help="Where the runs lie, so that comparisons can share them [OUT/runs]."),
    ] = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Train nothing: compare what is there.")
    ] = False,
) -> None:
    """Put runs side by side: a table here, and curves in a report. Trains what is missing.

    A run that fails, or whose folder holds no finished run, is left out, and the exit code is then 1.
    """
    from cohobate import downstream, planning, study
    from cohobate.analysis import comparison, report, tables, transfers, tuning
    from cohobate.machine import command
    from cohobate.rundir import check_folder

    places = [Path(text) for text in given if "=" not in text or Path(text).exists()]
    settings = [text for text in given if Path(text) not in places]
    files = [path for path in places if path.suffix == ".toml"]
    varied = planning.sweeps(sweep or [])
    swept = [*varied]
    if methods is not None:
        if "method.name" in varied:
            raise ValueError(
                "--methods and --sweep method.name=… both say which methods: give one of them"
            )
        varied["method.name"] = planning.names(methods)
    tasks = downstream.read(transfer or [])
    untrained = no_train and not tasks
    if not files and (settings or varied or seeds or runs or untrained or budget != "epochs"):
        raise ValueError(
            "settings, --methods, --seeds, --sweep, --budget, --runs and --no-train are for run"
            " files: give RUN.toml"
        )
    folders, planned, sentence = [path for path in places if path not in files], [], ""
    if folders and budget != "epochs":
        raise ValueError(
            f"--budget {budget} says how long runs are to be, and {folders[0]} is a run already: give"
            " run files alone, or leave --budget away"
        )
    if lost := [str(path) for path in folders if not path.exists()]:
        raise ValueError(f"there is no {', '.join(lost)}: give run folders, or run files")
    folder = out or planning.default_folder(files)
    runs = runs or folder / "runs"
    check_folder(folder)
    check_folder(runs, "--runs DIR")
    shown = display(epochs=False)
    if files:
        planned = planning.plan(files, settings, varied, seeds)
        planned, sentence = planning.fit(planned, budget, folder, shown, measure=not no_train)
    if no_train:
        done, told, failed = study.there(planned, runs)
        told += failed
    else:
        study.check(planned, runs, beside=folders if files else [])
        ahead = [downstream.Pretrained(runs / run.name, run.config) for run in planned]
        downstream.check(tasks, [*ahead, *downstream.pretrained(folders)])
        done, told = study.carry_out(planned, runs, shown, jobs)
        failed = [*told]
    folders += done
    told += study.moved(planned, runs)
    if not no_train:
        study.score_again(folders, shown)
    found = comparison.compare(folders, told=told, budget=sentence)
    if swept:
        found = tuning.tune(found, swept)
    found = replace(found, warnings=[*found.warnings, *comparison.uneven(found, budget)])
    show_comparison(found)
    tables.write(found, folder)
    moved = None
    if tasks:
        moved, lost = downstream.carry_out(tasks, found, shown, jobs, train=not no_train)
        failed += lost
        show_transfers(moved)
        transfers.write(moved, folder)
    page = folder / "report.html"
    report.write_report(found, page, title="Comparison", command=command(), transfers=moved)
    print(f"curves and details: {page}")
    if failed or found.left_out:
        raise typer.Exit(1)


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
        console.print(tables.as_rich(found, console.width))
    else:
        print(tables.as_text(found))
    for sentence in (found.budget, *found.findings, *found.tuned):
        if sentence:
            print(sentence)
    for sentence in found.warnings:
        print(f"warning: {sentence}")


def show_transfers(found: Any) -> None:
    from cohobate.analysis import transfers

    console = Console()
    print()
    if console.is_terminal:
        console.print(transfers.as_rich(found))
    else:
        print(transfers.as_text(found))
    for sentence in found.warnings:
        print(f"warning: {sentence}")
