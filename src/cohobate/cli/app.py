"""The application, and what its commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cohobate.ending import is_first_process

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Knowledge distillation and self-distillation for image recognition, on any timm network.",
)
transfer = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(transfer, name="transfer", help="Put a trained network to another use.")
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as seed=1 optim.epochs=10."),
]
Out = Annotated[Path | None, typer.Option("--out", help="The folder to write to.")]


def display(epochs: bool = True) -> Any:
    """A bar in a terminal, lines elsewhere, nothing on any process but the first.

    epochs: whether every epoch leaves a line.
    """
    from cohobate.display import Bar, Lines, Silent

    if not is_first_process():
        return Silent()
    console = Console()
    return Bar(console, epochs) if console.is_terminal else Lines(epochs)
