"""What a trained network says of image files: the class of each, or masks or boxes all over it."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cohobate import config as settings
from cohobate import defaults, fast
from cohobate.analysis.view import View
from cohobate.analysis.views import VIEWS
from cohobate.config import RunConfig
from cohobate.core import counted
from cohobate.data.folder import EXTENSIONS, is_image
from cohobate.data.images import BadImage, centre, parts, whole
from cohobate.data.loader import looked_at
from cohobate.data.workers import leave_signals, processes
from cohobate.display import Lines
from cohobate.machine import Machine
from cohobate.rundir import RunDir
from cohobate.tasks import TASKS
from cohobate.weights import class_names, load_classifier, load_network

TAKEN = ("data.workers", "eval.batch_size")
"""The settings that say how images are read, with `Task.shown`; what the network is, its folder says."""


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of a file, by name, and their probabilities, highest first."""

    file: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def cells(self) -> list[str]:
        """The file, a class, its probability, the next class, …"""
        pairs = zip(self.classes, self.probabilities)
        return [str(self.file), *(cell for name, p in pairs for cell in (name, f"{p:.6f}"))]


def headings(top: int) -> list[str]:
    """What the cells of a prediction are: `file, class, probability, class_2, probability_2, …`"""
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    return ["file", *(name + rank for rank in ranks for name in ("class", "probability"))]


def predict(
    folder: str | Path,
    files: Sequence[Path],
    *,
    top: int = 1,
    overrides: Sequence[str] = (),
    display: Lines,
) -> tuple[list[Prediction], list[BadImage]]:
    """The predictions for the files that can be read, in their order, and the faults of the others.

    The images are read, cut and normalised as the evaluation of the run does it.

    folder: a run's, or a timm checkpoint's, whose `config.json` says the share of the short side
        that is looked at (`crop_pct`).
    files: image files, such as `find` gives.
    top: classes for each file.
    overrides: settings of how images are read, as `TAKEN` has it.
    Raises ValueError where the folder holds no network, or an option does not fit.
    """
    network = load_classifier(folder)
    names = _names(Path(folder), network)
    if top > len(names):
        raise ValueError(f"--top {top}: the network in {folder} knows {len(names)} classes")
    config, run = _settings(folder, overrides), RunDir(folder)
    fabric = Machine.of(run, config, 1).launch()
    fast.prepare(network.to(fabric.device).eval())
    share = looked_at(network.net.pretrained_cfg)
    rows = torch.arange(len(files)).split(config.eval.batch_size)
    read = _read(Pictures(files, network.size, share), rows, config.data.workers)
    found, faults = list[Prediction](), list[BadImage]()
    count = counted(len(files), "image")
    for _, (good, images, bad) in zip(display.track(f"looking at {count}", rows), read):
        faults += bad
        if not good:
            continue
        with torch.inference_mode(), fabric.autocast():
            logits = network(images.to(fabric.device).float().div_(255))
        likeliest = logits.float().softmax(1).topk(top)
        for row, p, k in zip(good, likeliest.values.tolist(), likeliest.indices.tolist()):
            found.append(Prediction(files[row], tuple(names[each] for each in k), tuple(p)))
    return found, faults


def view_of(folder: str | Path) -> type[View] | None:
    """How the answers of the network in a folder are looked at; None where they are classes of images.

    Raises ValueError where there is none, or its answers are not looked at.
    """
    kind = type(load_network(folder, weights=False))
    name, task = next((name, task) for name, task in TASKS.items() if task.model is kind)
    if task.answers:
        return None
    if name not in VIEWS:
        raise ValueError(f"{folder} holds a network for {name}, whose answers are not written yet")
    return VIEWS[name]


def look(
    folder: str | Path,
    files: Sequence[Path],
    pictures: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    display: Lines,
) -> tuple[list[list[str]], list[BadImage]]:
    """What a network says all over each file, as lines of a table under their headings.

    pictures: a folder that is there, for a PNG of each file, under its name; the table then tells it.
    The rest is as for `predict`. Returns besides the faults of the files that cannot be read.
    """
    kind = view_of(folder)
    assert kind is not None, "classes have no picture"
    network = load_network(folder)
    view = kind(_names(Path(folder), network))
    config, run = _settings(folder, overrides), RunDir(folder)
    shown = defaults.shown(config)
    places = _places(files, pictures) if pictures else {}
    fabric = Machine.of(run, config, 1).launch()
    fast.prepare(network.to(fabric.device).eval())
    lines = [["file", *(["picture"] if pictures else []), *view.headings]]
    faults = list[BadImage]()
    for file in display.track(f"looking at {counted(len(files), 'image')}", files):
        try:
            image = whole(file)
        except BadImage as fault:
            faults.append(fault)
            continue
        batch = view.batch(image.to(fabric.device), network)
        with torch.inference_mode(), fabric.autocast():
            (answer,) = view.answers(network, batch, **shown)
        own = [str(file)]
        if pictures:
            view.picture(batch, 0, answer).save(places[file])
            own.append(places[file].name)
        lines += [[*own, *cells] for cells in view.cells(batch, 0, answer)]
    return lines, faults


def _places(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """A PNG in a folder for each file: of its name, and a number where several have one name.

    Raises ValueError where it would take the place of one of the files.
    """
    taken, given = dict[str, int](), {file.resolve() for file in files}
    places = dict[Path, Path]()
    for file in files:
        number = taken[file.stem] = taken.get(file.stem, 0) + 1
        name = f"{file.stem}-{number}" if number > 1 else file.stem
        places[file] = out / f"{name}.png"
        if places[file].resolve() in given:
            raise ValueError(
                f"--out {out}: {places[file]} is one of the images: name another folder"
            )
    return places


def find(given: Sequence[Path]) -> list[Path]:
    """The files among `given`, and the images in the folders among it and below; each once.

    A file that is not there is among them, for whoever reads it to say so, as long as another path is.
    Raises ValueError where none is there, for a folder without images, and for no path.
    """
    if not given:
        raise ValueError("which images? name files, or folders to search for them")
    if not any(path.exists() for path in given):
        raise ValueError(f"there is no file or folder {', '.join(map(str, given))}")
    files = list[Path]()
    for path in given:
        if not path.is_dir():
            files.append(path)
            continue
        there = [Path(at, name) for at, _, names in _walk(path) for name in names]
        images = sorted(file for file in there if is_image(file))
        if not images:
            raise ValueError(f"{path} holds no images ({', '.join(sorted(EXTENSIONS))})")
        files += images
    return list(dict.fromkeys(files))


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that leaves hidden folders alone."""
    for place in os.walk(root):
        place[1][:] = [name for name in place[1] if name[0] != "."]
        yield place


def write_csv(path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Writes the lines of a table, all or nothing; names that are no UTF-8 stay as they are.

    Raises OSError where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    os.replace(temporary, path)


def _names(folder: Path, network: Any) -> list[str]:
    """The names of a network's classes; their numbers where its folder tells none."""
    names = class_names(folder) or [str(number) for number in range(network.num_classes)]
    if len(names) != network.num_classes:
        raise ValueError(
            f"{folder / 'config.json'} names {len(names)} classes, and the network beside it knows"
            f" {network.num_classes}"
        )
    return names


def _settings(folder: str | Path, overrides: Sequence[str]) -> RunConfig:
    """The settings of the run in a folder, or those of any run where there is none."""
    file = RunDir(folder).config
    table = settings.read(file) if file.is_file() else {}
    shown = TASKS[table.get("task", "classification")].shown
    taken = [*TAKEN, *(f"eval.{name}" for name in shown)]
    for text in overrides:
        key, _ = settings.pair(text)
        if key not in taken:
            raise ValueError(
                f"there is no file {text}, and predict takes no setting {key}: choose from"
                f" {', '.join(taken)}"
            )
    return settings.parse(settings.override(table, overrides), str(file))


class Pictures(Dataset):
    """Whole batches of files, asked for by their rows; a file that cannot be read holds up no other.

    share: of the short side, from whose central square the images are made.
    """

    def __init__(self, paths: Sequence[Path], size: int, share: float):
        self.paths, self.size, self.place = paths, size, partial(centre, share=share)

    def __getitem__(self, rows: list[int]) -> tuple[list[int], Tensor, list[BadImage]]:
        """The rows that could be read, their images, uint8 (N, 3, size, size), and the faults."""
        good, images, faults = list[int](), list[Tensor](), list[BadImage]()
        for row in rows:
            try:
                images.append(parts(self.paths[row], self.place, self.size))
                good.append(row)
            except BadImage as fault:
                faults.append(fault)
        return good, torch.cat(images) if images else torch.empty(0), faults


def _read(
    pictures: Pictures, rows: Sequence[Tensor], workers: int | None
) -> DataLoader[tuple[list[int], Tensor, list[BadImage]]]:
    """The batches `rows` in their order, by processes where there are several."""
    count = min(processes(workers), len(rows) - 1)
    return DataLoader(
        pictures,
        sampler=[row.tolist() for row in rows],
        batch_size=None,
        num_workers=count,
        worker_init_fn=leave_signals if count else None,
    )
