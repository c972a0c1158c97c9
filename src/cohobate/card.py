"""The card of an exported network: what it is, how it was trained, what it scores, how it is loaded."""

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import timm
import tomli_w
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from cohobate import catalogue
from cohobate.analysis import comparison, tables
from cohobate.analysis.groups import methods
from cohobate.analysis.runs import Run
from cohobate.data.loader import looked_at
from cohobate.display import number
from cohobate.methods import find_method

NAME = "README.md"
"""What the Hugging Face Hub calls the card of a folder."""
MARK = "<!-- written by `cohobate export` -->"
"""By which a card of ours is known, that may be written anew."""


class Kind(NamedTuple):
    """What the Hub calls a task and the score that counts in it."""

    task: str
    metric: str


KINDS = {
    "classification": Kind("image-classification", "accuracy"),
    "segmentation": Kind("image-segmentation", "mean_iou"),
    "detection": Kind("object-detection", "mean_average_precision"),
}
"""The tasks that have a card, the template `cards/TASK.md`."""


class Row(NamedTuple):
    """A line of a table under its headings.

    seeds: of how many runs it tells. baseline: the row that its difference is to, if any.
    """

    headings: list[str]
    cells: list[str]
    seeds: int = 1
    baseline: str | None = None


def row(run: Run, table: Path | None) -> Row:
    """What a run scored at its last epoch; or the row of a comparison that it is in, over all seeds.

    table: the folder of a comparison, whose `comparison.json` names its runs.
    Raises ValueError where the run has not finished, or is in no row of the comparison.
    """
    if not run.finished:
        raise ValueError(
            f"{run.path}: {len(run.rows)} of {run.epochs} epochs; `cohobate train` it again to finish"
        )
    if table is None:
        found = scores(run)
        return Row([*found], [number(name, value) for name, value in found.items()])
    found = comparison.compare(_compared(table))
    columns = tables.columns(found)
    lines = tables.cells(found, columns)
    for group, own, cells in zip(found.groups, found.rows, lines):
        if any(_same(run, other) for other in group.runs):
            known = own.baseline if own.difference is not None else None
            return Row(tables.headings(columns), cells, own.seeds, known)
    raise ValueError(
        f"--table {table} compares other runs than {run.path}: give a comparison that it is part of"
    )


def _same(run: Run, other: Run) -> bool:
    """Whether two folders hold the same run: they are one, or copies, to the seconds of every epoch."""
    return run.path.resolve() == other.path.resolve() or run.rows == other.rows


def _compared(table: Path) -> list[Path]:
    """The folders of the runs of a comparison. Raises ValueError where it names none, or one is gone."""
    try:
        named = json.loads((table / "comparison.json").read_text(encoding="utf-8"))["runs"]
        runs = [Path(folder) for folders in named.values() for folder in folders]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(
            f"--table {table} holds no runs, as comparison.json names them: give the --out of a"
            " `cohobate compare`"
        ) from None
    if gone := [run for run in runs if not run.is_dir()]:
        raise ValueError(
            f"--table {table} compares {gone[0]}, which is not there: export from the folder in which"
            " `cohobate compare` was run"
        )
    return runs


def scores(run: Run) -> dict[str, float]:
    """The scores on the test split at the last epoch, that which counts first."""
    found = {k.removeprefix("test/"): v for k, v in run.rows[-1].items() if k.startswith("test/")}
    return {run.task.score: found[run.task.score]} | found


def write(
    run: Run,
    network: Any,
    row: Row,
    *,
    form: str,
    file: Path,
    home: Path,
    batch: int | None,
    side: int,
    outputs: Sequence[str],
) -> str:
    """The card, in Markdown, with what the Hugging Face Hub reads before it.

    row: of a table. form, file: what was exported, and where it lies.
    home: the folder from which timm, or cohobate, loads the network.
    batch: the number of images that the file is for; None for any. side: theirs, in pixels.
    outputs: the names of what it gives.
    """
    known, encoder = network.net.pretrained_cfg, getattr(network, "encoder", network)
    mean, std = (encoder.get_buffer(name).flatten().tolist() for name in ("mean", "std"))
    arch, data, method = (
        run.config["model"]["arch"],
        run.config["data"]["name"],
        methods(run.settings),
    )
    headings, cells = ([text(each) for each in line] for line in (row.headings, row.cells))
    environment = Environment(
        loader=PackageLoader("cohobate", "cards"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{run.task_name}.md").render(
        facts=_facts(run, arch, method, data),
        mark=MARK,
        arch=arch,
        decoder=network.spec.get("decoder"),
        detector=network.spec.get("detector"),
        least=getattr(network, "least", None),
        overlap=getattr(network, "overlap", None),
        data=text(data),
        method=text(method),
        idea=_idea(run.config["method"]["name"]),
        parameters=f"{sum(p.numel() for p in network.parameters()):,}",
        size=network.size,
        side=side,
        outputs=outputs,
        crop=f"{100 * looked_at(known):g} %",
        mean=[round(value, 4) for value in mean],
        std=[round(value, 4) for value in std],
        classes=[text(name) for name in known.get("label_names") or ()],
        count=network.num_classes,
        headings=headings,
        seeds=row.seeds,
        baseline=row.baseline and text(row.baseline),
        cells=cells,
        seed=run.seed,
        epochs=run.epochs,
        environment=run.environment,
        settings=tomli_w.dumps(run.config),
        registered=_is_ours(arch),
        form=form,
        file=file.as_posix(),
        home=home.as_posix(),
        batch=batch,
    )


def _facts(run: Run, arch: str, method: str, data: str) -> str:
    """What programs read of a card, in YAML."""
    name = f"{arch}-{method}-{data}".replace(" → ", "-")
    kind = KINDS[run.task_name]
    score = EvalResult(
        task_type=kind.task,
        dataset_type=data,
        dataset_name=data,
        dataset_split="test",
        metric_type=kind.metric,
        metric_name=f"{run.task.title}, last epoch, seed {run.seed}",
        metric_value=run.score,
    )
    return ModelCardData(
        library_name="timm",
        license="unknown",
        pipeline_tag=kind.task,
        tags=[kind.task, "timm", "cohobate", "knowledge-distillation"],
        model_name=name,
        eval_results=[score],
    ).to_yaml()


def _is_ours(arch: str) -> bool:
    """Whether timm knows a network only once cohobate is imported."""
    return timm.is_model(arch) and timm.model_entrypoint(arch).__module__.startswith("cohobate.")


def _idea(name: str) -> str:
    """A method's idea and paper; "" for one from outside that tells neither."""
    try:
        page = catalogue.read(find_method(name))
    except ValueError:
        return ""
    cited = page.citation
    return f"{page.idea} {cited.authors}, [{cited.title}]({cited.link}), {cited.year}."


def text(name: str) -> str:
    """A name as Markdown shows it, whatever characters it is of."""
    return escape(re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", " ".join(name.split())), quote=False)
