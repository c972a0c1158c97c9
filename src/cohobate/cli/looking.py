"""Commands that look into things: methods, networks, runs, and this machine."""

from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from cohobate.cli.app import Settings, app, display
from cohobate.display import folded, show


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(metavar="RUN.toml", help="A run file.")],
    settings: Settings = None,
) -> None:
    """Tell what a run is made of and what it costs, before any training.

    The data need not be there, but for a folder or arrays of your own, whose classes are counted.
    """
    from cohobate import config, defaults
    from cohobate.explain import explain

    resolved, notes = defaults.resolve(config.load(file, settings or []))
    told = explain(resolved)
    if told.before:
        show(["before", "method", "network", "parameters", "from"], told.before)
        print()
    mix = [f"mixing: {told.mix}"] if told.mix else []
    print("\n".join([told.network, *notes, *told.notes, *mix]), end="\n\n")
    show(["stage", "channels", "map"], told.stages)
    for headings, rows in (
        (["teacher's stage", "channels", "map"], told.teacher),
        (["added by the method", "from → to", "parameters", "are"], folded(told.parts, 46)),
        (["loss", "weight", "teaches", "takes as given", "leaves alone"], folded(told.terms, 26)),
    ):
        if rows:
            print()
            show(headings, rows)
    print("\n" + fill(f"{resolved.method.name}: {told.options}", 100) if told.options else "")
    print(end="\n" * bool(told.options))
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
        int,
        typer.Option(min=1, help="How many images to map, attack and ask all heads of, at most."),
    ] = 1000,
    only: Annotated[
        str | None,
        typer.Option(
            help="Sections of the page, such as calibration,heads: comparison, curves, calibration,"
            " confusion, features, robustness, heads, mixtures, attention, similarity, temperature;"
            " of masks and boxes comparison, curves, pictures."
        ),
    ] = None,
) -> None:
    """Look into trained networks: how they learnt, how sure they are, what they see and mistake.

    Of a folder without weights there are scores, learning curves and settings alone.
    """
    from cohobate.analyse import analyse
    from cohobate.analysis.portrait import columns
    from cohobate.machine import command
    from cohobate.scene import Wanted, fractions

    folders = [Path(text) for text in given if "=" not in text or Path(text).exists()]
    settings = [text for text in given if Path(text) not in folders]
    wanted = Wanted(
        split=split,
        temperatures=list(dict.fromkeys(temperature)),
        epsilons=fractions(epsilon),
        classes=classes.split(",") if classes else (),
        images=images,
        only=[name.strip() for name in only.split(",")] if only else (),
    )
    found, page = analyse(
        folders, out, wanted, overrides=settings, display=display(), command=command()
    )
    shown = [column for column in columns(found) if "T=" not in column.heading]
    rows = [(p.label, *(column.show(p) for column in shown)) for p in found.portraits]
    if rows:
        show(["run", *(column.heading for column in shown)], rows)
    for sentence in found.warnings:
        print(f"warning: {sentence}")
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    print(f"figures and details: {page}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, to see its options.")] = None,
) -> None:
    """List the methods, by family, or show the page of one.

    The cost is what a training step computes, forward and backward, `supervised` being 1, on a small
    network with a teacher like it.
    """
    from cohobate import catalogue

    if name is not None:
        print(catalogue.page(name))
        return
    show(
        ["method", "family", "paper", "needs", "cost", "link"],
        [*catalogue.rows(), *catalogue.recipes()],
    )


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
def bench(
    methods: Annotated[
        str | None, typer.Option(help="Methods, such as kd,mixskd; all by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The network [cifar_resnet20; of other tasks test_resnet].")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="The teacher's network; else the same.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Images in a batch [64; of other tasks 8].")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of an image, in pixels [32; of other tasks 64].")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Classes of the data [100; of other tasks 20].")
    ] = None,
    task: Annotated[
        str, typer.Option(help="classification, segmentation or detection.")
    ] = "classification",
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="By default on a GPU alone.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="A file for the rows.")] = None,
) -> None:
    """Measure how fast this machine trains each method, and how much memory that takes."""
    import torch

    from cohobate import bench as program
    from cohobate.core import unknown
    from cohobate.methods import METHODS
    from cohobate.stopwatch import Case
    from cohobate.tasks import TASKS

    if json and not json.parent.is_dir():
        raise ValueError(f"--json {json}: there is no folder {json.parent}")
    compiles = torch.cuda.is_available() if compiled is None else compiled
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    every = [name for name, kind in METHODS.items() if task in kind.tasks]
    names = dict.fromkeys(["supervised", *(methods.split(",") if methods else every)])
    asked = {"model": model, "batch_size": batch_size, "size": size, "classes": classes}
    given = {key: value for key, value in asked.items() if value is not None}
    usual = Case.usual(task)
    cases = [
        replace(usual, method=name, teacher=teacher, compile=compiles, **given) for name in names
    ]
    print(program.setting(cases[0]))
    rows, failed = program.bench(cases, display())
    show(program.HEADINGS, program.lines(rows))
    print("\n".join(failed), end="\n" if failed else "")
    if json:
        json.write_text(dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
