"""Commands that score trained networks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cohobate.cli.app import Out, Settings, app, display
from cohobate.display import number, show


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
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ROOT]", help="Data to try the features on; repeatable."),
    ] = None,
    shots: Annotated[
        str, typer.Option(help="Images of each class to learn such data from, beside all.")
    ] = "1,5,10",
    draws: Annotated[int, typer.Option(min=1, help="How often these are drawn.")] = 5,
    robustness: Annotated[
        str | None,
        typer.Option(help="Changes of the images to try: corruptions,attacks,occlusion,shift."),
    ] = None,
    corrupted: Annotated[
        Path | None, typer.Option(help="The folder of CIFAR-10-C, CIFAR-100-C or ImageNet-C.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="How many images to change, at most.")] = 1000,
    ood: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ROOT]", help="Data to tell from its own; repeatable."),
    ] = None,
    out: Out = None,
) -> None:
    """Score a trained network, on its own data or on other data of the same classes."""
    from cohobate import evaluation
    from cohobate.rundir import check_folder

    if out:
        check_folder(out)
    wanted = evaluation.Wanted(
        split=split,
        teacher=teacher,
        on=tuple(dict.fromkeys(on or [])),
        shots=whole_numbers("--shots", shots),
        draws=draws,
        robustness=tuple(dict.fromkeys(robustness.split(","))) if robustness else (),
        corrupted=corrupted,
        images=images,
        ood=tuple(dict.fromkeys(ood or [])),
    )
    found = evaluation.evaluate(source, wanted, overrides=settings or [], display=display())
    show_scores(found)
    if out:
        print(f"{out}: {', '.join(evaluation.write(found, out))}")


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
    if found.robustness:
        tried = found.robustness
        print(f"\ntop1 of {tried.images:,} images: clean {number('', tried.clean)}")
        for table in tried.tests.values():
            show_stress(table)
    if found.corrupted:
        print("\ntop1 of all images of the corrupted set")
        show_stress(found.corrupted)
    if found.on:
        show_features(found.on)
    if found.ood:
        print()
        rows = [
            (name, score, number("", each.auroc), number("", each.fpr95))
            for name, table in found.ood.items()
            for score, each in table.items()
        ]
        show(["other data", "score", "AUROC", "FPR at 95 % TPR"], rows)


def show_stress(table: Any) -> None:
    """Top-1 by what was done to the images, at every level."""
    from cohobate.data.corrupted import BENCHMARK

    rows = [
        (name, *(number("", value) for value in (*top1, sum(top1) / len(top1))))
        for name, top1 in table.top1.items()
    ]
    print()
    show([table.what, *table.levels, "mean"], rows)
    if table.what == "corruption" and table.counted:
        over = f"{len(table.counted)} of the benchmark's {len(BENCHMARK)} corruptions"
        print(f"mean corruption error, over {over}: {number('', table.corruption_error)}")


def show_features(found: Any) -> None:
    """What the features are worth on other data, learnt from all images and from few."""
    from cohobate.linear import NEIGHBOURS

    print()
    rows = [
        (name, f"{each.scores.train:,}", f"{each.scores.test:,}",
         number("", each.scores.linear), number("", each.scores.neighbours))
        for name, each in found.items()
    ]  # fmt: skip
    show(["data", "train", "test", "linear top1", f"{NEIGHBOURS}-NN top1"], rows)
    few = [(name, each) for name, both in found.items() for each in both.few]
    if few:
        names = list(few[0][1].top1)
        print()
        rows = [
            (name, str(each.shots), *(spread(each.mean(by), each.deviation(by)) for by in names))
            for name, each in few
        ]
        show(["data", "images a class", *names], rows)


def spread(mean: float, deviation: float | None) -> str:
    """Mean ± standard deviation in percent; the mean alone where there is no deviation."""
    return f"{100 * mean:.2f}" + (" %" if deviation is None else f" ± {100 * deviation:.2f} %")


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Numbers such as `1,5,10`; none for an empty text. Raises ValueError."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(","))) if text else ()
    except ValueError:
        raise ValueError(f"{option} {text} should be whole numbers such as 1,5,10") from None
