"""Commands that put a trained network to work outside of training."""

import sys
from collections.abc import Sequence
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
        typer.Option("--out", help="A CSV file, else a table is printed; for masks, a folder."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Likeliest classes to name of each image.")] = 1,
) -> None:
    """Tell the class of image files, each in a line: file, class, probability.

    A network for segmentation leaves a mask of each in the folder --out, and the share of every class.

    Files that cannot be read are named and left out, and the exit code is then 1.
    """
    from cohobate import predict as program
    from cohobate.core import counted
    from cohobate.rundir import check_folder

    files = [Path(text) for text in given if "=" not in text or Path(text).exists()]
    settings = [text for text in given if Path(text) not in files]
    shown = display()
    view = program.view_of(folder)
    if view:
        if out is None or top > 1:
            raise ValueError(
                f"{folder} holds a network that answers all over an image: give --out FOLDER, for a"
                f" picture of each and {view.table}, and leave --top away"
            )
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        done, faults = program.picture(folder, files, out, overrides=settings, display=shown)
        shown.say(f"{out}: {counted(done, 'picture')}, {view.table}")
        _tell(faults, done + len(faults))
        return
    if out:
        check_folder(out.parent, "--out CSV")
        if out.is_dir():
            raise ValueError(
                f"--out {out} is a folder: name a file in it, such as {out}/classes.csv"
            )
    found, faults = program.predict(folder, files, top=top, overrides=settings, display=shown)
    if out:
        program.write_csv(out, found, top)
        shown.say(f"{out}: {len(found):,} predictions")
    else:
        show(program.headings(top), [[*map(printable, each.cells())] for each in found])
    _tell(faults, len(found) + len(faults))


def _tell(faults: Sequence[Exception], total: int) -> None:
    """Names the files that cannot be read, of so many, and ends with 1 where there are any."""
    for fault in faults:
        print(f"cohobate: {fault}", file=sys.stderr)
    if faults:
        print(f"cohobate: {len(faults)} of {total} files cannot be read", file=sys.stderr)
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

    It takes images in [0, 1], (B, 3, S, S), normalises them itself, and gives logits.
    """
    from cohobate.export import export

    shown = display()
    shown.say(f"exporting the network of {folder} ...")
    done = export(folder, form, out, batch=batch, table=table)
    tried = ", ".join(map(str, dict.fromkeys(done.batches)))
    shown.say(
        f"{done.file}: on batches of {tried} its logits differ from PyTorch's by"
        f" {done.difference:.1e} at most ({done.allowed:.1e} is allowed)"
    )
    shown.say(f"{done.card}: its card")


def printable(text: str) -> str:
    """A name in UTF-8; file systems know others, too."""
    return text.encode("utf-8", "replace").decode("utf-8")
