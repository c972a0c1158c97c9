"""Commands that put a trained network to work outside of training."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cohobate.cli.app import app, display
from cohobate.display import show


@app.command()
def predict(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a run, or of a network.")
    ],
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="(FILE | FOLDER)... [KEY=VALUE]...",
            help="Images, and folders to search for them; settings such as eval.batch_size=64.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A file NAME.csv for the lines, which are else printed; of masks and boxes also a"
            " folder, for a picture of each image too.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Likeliest classes to name of each image.")] = 1,
) -> None:
    """Tell the class of image files, each in a line: file, class, probability.

    A network for detection gives a line a box: file, class, score, left, top, right, bottom. One for
    segmentation gives the share of every class in each file.

    Files that cannot be read are named and left out, and the exit code is then 1.
    """
    from cohobate import predict as program
    from cohobate.core import counted
    from cohobate.rundir import check_folder

    named = [Path(text) for text in given if "=" not in text or Path(text).exists()]
    settings = [text for text in given if Path(text) not in named]
    shown = display()
    view = program.view_of(folder)
    pictures = out if view and out and out.suffix != ".csv" else None
    if view and top > 1:
        raise ValueError(
            f"--top {top}: {folder} holds a network that answers all over an image: leave --top away"
        )
    files = program.find(named)
    if pictures:
        check_folder(pictures)
        pictures.mkdir(parents=True, exist_ok=True)
    elif out:
        check_folder(out.parent, "--out CSV")
        if out.is_dir():
            raise ValueError(
                f"--out {out} is a folder: name a file in it, such as {out}/classes.csv"
            )
        if out.suffix != ".csv":  # which may be a picture that a shell has put there
            raise ValueError(f"--out {out} is no table: name a file that ends in .csv")
    if view:
        lines, faults = program.look(folder, files, pictures, overrides=settings, display=shown)
    else:
        found, faults = program.predict(folder, files, top=top, overrides=settings, display=shown)
        lines = [program.headings(top), *(each.cells() for each in found)]
    if out:
        table = out / view.table if view and pictures else out
        program.write_csv(table, lines)
        if pictures:
            shown.say(f"{pictures}: {counted(len(files) - len(faults), 'picture')}")
        shown.say(f"{table}: {counted(len(lines) - 1, 'line')}")
    else:
        show(lines[0], [[*map(printable, line)] for line in lines[1:]])
    for fault in faults:
        print(f"cohobate: {fault}", file=sys.stderr)
    if faults:
        print(f"cohobate: {len(faults)} of {len(files)} files cannot be read", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a run that is done.")
    ],
    form: Annotated[str, typer.Option("--format", help="onnx or torch-export.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A folder or a file; by default RUN_FOLDER/FORMAT."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="A fixed number of images; by default any number.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="The folder of a comparison, whose row of this run the card shows."),
    ] = None,
) -> None:
    """Write the network for use without cohobate, with a model card; the file is tried first.

    It takes images in [0, 1], (B, 3, S, S), normalises them itself, and gives logits; a detector of one
    stage gives boxes and scores of every place, before suppression.
    """
    from cohobate.export import export

    shown = display()
    shown.say(f"exporting the network of {folder} ...")
    done = export(folder, form, out, batch=batch, table=table)
    tried = ", ".join(map(str, dict.fromkeys(done.batches)))
    shown.say(
        f"{done.file}: on batches of {tried} its {' and '.join(done.outputs)} differ from PyTorch's by"
        f" {done.difference:.1e} at most ({done.allowed:.1e} is allowed)"
    )
    shown.say(f"{done.card}: its card")


def printable(text: str) -> str:
    """A name in UTF-8; file systems know others, too."""
    return text.encode("utf-8", "replace").decode("utf-8")
