"""The command line. Every mistake of a user ends in one sentence and exit code 2."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cohobate import ending
from cohobate.display import show
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
    from cohobate.train import evaluate

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
def explain(
    file: Annotated[Path, typer.Argument(metavar="RUN.toml", help="A run file.")],
    settings: Settings = None,
) -> None:
    """Tell what a run is made of and what it costs, without its data and before any training."""
    from cohobate import build, config
    from cohobate.explain import explain

    resolved, notes = build.resolve(config.load(file, settings or []))
    told = explain(resolved)
    print("\n".join([told.network, *notes, *told.notes]), end="\n\n")
    show(["stage", "channels", "map"], told.stages)
    if told.parts:
        print()
        show(["added by the method", "parameters", "are"], told.parts)
    print(f"\nlosses: {', '.join(told.terms)}\n")
    show(["cost", "supervised", resolved.method.name, "ratio"], told.costs)


@app.command()
def analyse(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_FOLDER... [KEY=VALUE]...",
            help="Runs that are done, on the same data; settings such as data.root=FOLDER.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path(
        "out/analyse"
    ),
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    temperature: Annotated[
        list[float], typer.Option(help="What logits are divided by; repeatable.")
    ] = [1, 4],  # noqa: B006 - typer copies it
    classes: Annotated[
        str | None, typer.Option(help="Classes of the map, by name or number, such as 3,5.")
    ] = None,
    epsilon: Annotated[
        str, typer.Option(help="How far an attack may move a value that lies in [0, 1].")
    ] = "0,1/255,2/255,4/255,8/255",
    images: Annotated[
        int, typer.Option(min=1, help="How many images to attack, and to map, at most.")
    ] = 1000,
) -> None:
    """Look into trained networks: calibration, softness, features, robustness."""
    from cohobate.analyse import Wanted, analyse, fractions
    from cohobate.analysis.portrait import columns

    folders = [Path(text) for text in given if "=" not in text or Path(text).exists()]
    settings = [text for text in given if Path(text) not in folders]
    wanted = Wanted(
        split=split,
        temperatures=list(dict.fromkeys(temperature)),
        epsilons=fractions(epsilon),
        classes=classes.split(",") if classes else (),
        images=images,
    )
    found, page = analyse(
        folders, out, wanted, overrides=settings, display=display(), command=command()
    )
    shown = [column for column in columns(found) if "T=" not in column.heading]
    rows = [(p.label, *(column.show(p) for column in shown)) for p in found.portraits]
    show(["run", *(column.heading for column in shown)], rows)
    print(f"figures and details: {page}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, to see its options.")] = None,
) -> None:
    """List the methods, or show one with its options."""
    from cohobate import catalogue
    from cohobate.methods import METHODS

    if name is not None:
        print(catalogue.describe(name))
        return
    show(["method", "idea", "paper"], [(key, *catalogue.idea(METHODS[key])) for key in METHODS])


@app.command()
def models(
    pattern: Annotated[
        str, typer.Argument(help="A name, or a pattern such as 'cifar_*' or '*vit*'.")
    ] = "*",
) -> None:
    """List the networks whose names match, or show the stages of one."""
    from cohobate.models import registry

    names = registry.find(pattern)
    if len(names) > 1:
        print("\n".join(names))
        return
    facts = registry.facts(names[0])
    print(
        f"{names[0]}: {facts.parameters:,} parameters, {facts.macs:,} multiply-adds at {facts.size} pixels"
    )
    rows = [(s.module, str(s.channels), str(s.stride)) for s in facts.stages]
    show(["stage", "channels", "stride"], rows)


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


def display(epochs: bool = True) -> Any:
    """A bar in a terminal, lines elsewhere, nothing on any process but the first.

    epochs: whether every epoch leaves a line.
    """
    from cohobate.display import Bar, Lines, Silent

    if not is_first_process():
        return Silent()
    console = Console()
    return Bar(console, epochs) if console.is_terminal else Lines(epochs)


def number(name: str, value: float) -> str:
    """A score as people read it: shares in percent, the rest with four digits."""
    return f"{value:.4f}" if name.endswith(("nll", "brier")) else f"{100 * value:.2f} %"


def command() -> str:
    return " ".join(["cohobate", *sys.argv[1:]])


def main() -> None:
    """Runs the command line. Ends with 2 for a mistake of the user, 1 for a failed training."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
    ending.run(app)
