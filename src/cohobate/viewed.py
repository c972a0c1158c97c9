"""What runs say all over their images, scored and pictured side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch

from cohobate import defaults
from cohobate.analysis.pictures import shrunk
from cohobate.analysis.portrait import Analysis, Answered, Pictured, Seen
from cohobate.analysis.view import View
from cohobate.core import Batch
from cohobate.display import Lines
from cohobate.fast import prepare
from cohobate.scene import Wanted, draw
from cohobate.scores import by_name
from cohobate.sitters import Sitter
from cohobate.tasks import TASKS
from cohobate.trained import Trained

T = TypeVar("T")
EACH = 2
"""Pictured images of each kind: the worst, the middling and the best."""


class Look(NamedTuple):
    """A row of a batch, and what a network says of it."""

    batch: Batch
    row: int
    answer: Any


def look(
    found: Analysis, sitters: Sequence[Sitter], wanted: Wanted, view: View, display: Lines
) -> Analysis:
    """The analysis with the scores of each run, and with pictures of some images.

    Those are the worst, the middling and the best by the mean of all runs, among at most
    `wanted.images` of the split.
    """
    first = _trained(sitters[0])
    split = first.split(wanted.split)
    rows = draw(torch.arange(len(split)), wanted.images)
    seen = [_seen(sitter, split, rows, view, display) for sitter in sitters]
    found = replace(
        found,
        images=len(split),
        drawn=len(rows),
        classes=view.names,
        seen=seen,
        mark=view.mark,
        legend=view.legend,
    )
    if not wanted.wants("pictures"):
        return found
    chosen = _chosen([each.marks for each in seen])
    if not chosen:
        return found
    some = split.take(rows[[place for _, place in chosen]])
    panels = [_panels(_trained(sitter), some, view) for sitter in sitters]
    pictured = [
        Pictured(
            kind=kind,
            name=name,
            image=panels[0][number]["image"],
            truth=panels[0][number]["truth"],
            answers=[
                Answered(
                    run.label, run.marks[place], drawn[number]["prediction"], drawn[number]["error"]
                )
                for run, drawn in zip(seen, panels)
            ],
        )
        for number, ((kind, place), name) in enumerate(zip(chosen, some.names()))
    ]
    return replace(found, pictured=pictured)


def _trained(sitter: Sitter) -> Trained:
    assert sitter.trained is not None, "only runs with weights are looked at"
    return sitter.trained


def _seen(sitter: Sitter, split: Any, rows: torch.Tensor, view: View, display: Lines) -> Seen:
    """The scores of a run on a split, and how good its answers to some of the images are."""
    trained, label = _trained(sitter), sitter.label
    config = trained.config
    task = TASKS[config.task]
    network = trained.network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    prepare(network)
    batches = display.track(f"{label}: {len(split):,} images", _batches(trained, split))
    shown = defaults.shown(config)
    scores = task.evaluate(network, batches, trained.autocast(), **shown)
    some = split.take(rows)
    looks = _looks(
        trained,
        some,
        view,
        lambda batches: display.track(f"{label}: {len(rows):,} images, one by one", batches),
    )
    return Seen(
        label=label,
        folder=str(trained.run.path),
        scores=by_name(scores, trained.data.classes),
        marks=[mark if mark == mark else None for mark in _in_order(looks, view.worth)],
        curves=view.curves(each.answer for each in _looks(trained, some, view, iter)),
    )


def _looks(trained: Trained, split: Any, view: View, track: Any) -> Iterator[Look]:
    """What a run's network says of every image of a split."""
    network, shown = trained.network, defaults.shown(trained.config)
    autocast = trained.autocast()
    for batch in track(_batches(trained, split)):
        with torch.inference_mode(), autocast:
            answers = view.answers(network, batch, **shown)
        for row, answer in enumerate(answers):
            yield Look(batch, row, answer)


def _panels(trained: Trained, split: Any, view: View) -> list[dict[str, str]]:
    """The pictures of every image of a split and of what a run says of it."""
    looks = _looks(trained, split, view, iter)
    panels = _in_order(looks, view.panels)
    return [{name: shrunk(panel, view.side) for name, panel in each.items()} for each in panels]


def _in_order(looks: Iterable[Look], made: Callable[[Batch, int, Any], T]) -> list[T]:
    """What is made of every look, in the order of the split, whatever that of the loader is."""
    found = {int(each.batch.ids[each.row]): made(*each) for each in looks}
    return [found[place] for place in sorted(found)]


def _batches(trained: Trained, split: Any) -> Iterable[Batch]:
    return TASKS[trained.config.task].eval_loader(
        split,
        size=trained.data.size,
        batch_size=trained.config.eval.batch_size,
        device=next(trained.network.parameters()).device,
        workers=trained.config.data.workers,
    )


def _chosen(marks: Sequence[Sequence[float | None]]) -> list[tuple[str, int]]:
    """Of the marks that runs have of images, the images to be pictured, each once, worst first."""
    known = [[float("nan") if mark is None else mark for mark in run] for run in marks]
    means = torch.tensor(known, dtype=torch.float64).nanmean(0)
    order = [place for place in means.argsort().tolist() if means[place] == means[place]]
    middle = max(0, (len(order) - EACH) // 2)
    parts = {
        "worst": order[:EACH],
        "median": order[middle : middle + EACH],
        "best": order[-EACH:],
    }
    every: dict[int, str] = {}
    for kind, places in parts.items():
        for place in places:
            every.setdefault(place, kind)
    return [(kind, place) for place, kind in every.items()]
