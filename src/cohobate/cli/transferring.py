"""Commands that put a trained network to another use."""

from pathlib import Path
from typing import Annotated

import typer

from cohobate.cli.app import Out, Settings, display, transfer
from cohobate.cli.running import Devices, train_and_tell
from cohobate.display import number, show

Network = Annotated[
    str,
    typer.Argument(
        metavar="RUN_FOLDER",
        help="A run's folder, one of timm's form, a checkpoint file with model.arch=NAME, timm:NAME.",
    ),
]
RunFile = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="RUN.toml", help="A run file of the task; else our own settings."
    ),
]


@transfer.command()
def linear(
    source: Network,
    settings: Settings = None,
) -> None:
    """Score the frozen features on other data: data.name=NAME data.root=FOLDER."""
    from cohobate.linear import NEIGHBOURS, linear

    scores = linear(source, settings or [])
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


@transfer.command()
def segmentation(
    source: Network,
    settings: Settings = None,
    run: RunFile = None,
    out: Out = None,
    devices: Devices = 1,
) -> None:
    """Train the network to tell the class of every pixel: data.name=NAME data.root=FOLDER.

    It starts from its weights, and learns with a decoder on it as `cohobate train` trains.
    """
    start("segmentation", source, settings, run, out, devices)


@transfer.command()
def detection(
    source: Network,
    settings: Settings = None,
    run: RunFile = None,
    out: Out = None,
    devices: Devices = 1,
) -> None:
    """Train the network to find objects: data.name=NAME data.root=FOLDER.

    It starts from its weights, and learns with a detector on it as `cohobate train` trains.
    """
    start("detection", source, settings, run, out, devices)


def start(
    task: str,
    source: str,
    settings: list[str] | None,
    file: Path | None,
    out: Path | None,
    devices: int,
) -> None:
    from cohobate.transfer import Source, Transfer

    network, wanted = Source.of(source), Transfer.of(task, settings or [], file)
    config = wanted.config(network)
    folder = out or wanted.folder(network, config.seed)
    shown = display()
    shown.say(f"{config.model.arch} of {source}, in {folder}")
    train_and_tell(config, folder, devices, shown)
