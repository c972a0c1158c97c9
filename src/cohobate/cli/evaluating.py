"""Commands that score trained networks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cohobate.cli.app import Out, Settings, app, command, display, number, transfer
from cohobate.display import show


@app.command()
def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="RUN_FOLDER, a folder of timm's form, timm:NAME, or a file with model.arch=NAME.",
        ),
    ],
    settings: Settings = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    teacher: Annotated[
        str | None, typer.Option(help="RUN_FOLDER or timm:NAME; else the run's own.")
    ] = None,
    out: Out = None,
) -> None:
    """Score a trained network, on its own data or on other data of the same classes."""
    from cohobate import evaluation
    from cohobate.rundir import check_folder

    if out:
        check_folder(out)
    wanted = evaluation.Wanted(split=split, teacher=teacher)
    found = evaluation.evaluate(source, wanted, overrides=settings or [], display=display())
    show_scores(found)
    if out:
        evaluation.write(found, out, command())
        print(f"{out}: scores.json, per_class.csv, confusion.csv")


def show_scores(found: Any) -> None:
    """The scores as tables, the general ones first."""
    from cohobate.analysis import scoring

    rows = [(name, number(name, value)) for name, value in found.scores.items()]
    if found.teacher:
        rows += [
            (name, number(name, getattr(found.teacher, name)))
            for name in ("agreement", "kl", "teacher_top1")
        ]
    show(["score", found.split], rows)
    weakest = scoring.weakest(found.classes)
    if weakest:
        listed = (f"{each.name} ({number('', each.accuracy or 0)})" for each in weakest)
        print(f"weakest classes: {', '.join(listed)}")
    names = [each.name for each in found.classes]
    mistakes = scoring.most_confused(found.confusion)
    if mistakes:
        listed = (f"{names[true]} → {names[said]} ({count})" for true, said, count in mistakes)
        print(f"most confused: {', '.join(listed)}")


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
