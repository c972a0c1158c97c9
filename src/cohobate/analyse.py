"""What trained networks have learnt beside their accuracy: run, measured, attacked, drawn."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from cohobate.analysis import embedding, robustness
from cohobate.analysis.groups import label
from cohobate.analysis.portrait import Analysis, Portrait, portrait
from cohobate.analysis.prints import write_figures
from cohobate.analysis.report import write_analysis
from cohobate.analysis.runs import Run
from cohobate.core import unknown
from cohobate.data.draws import generator
from cohobate.data.loader import EvalLoader
from cohobate.data.splits import Split
from cohobate.display import Lines
from cohobate.fast import prepare
from cohobate.machine import Machine
from cohobate.rundir import check_folder
from cohobate.trained import Trained, reopen

SEED = 0
"""Of the images that are drawn, the starts of attacks, and the maps: the same for every run."""
MAPPED = 10
"""Classes on the map where none were chosen."""


@dataclass(frozen=True)
class Wanted:
    """What an analysis looks at.

    split: train, val or test. temperatures: above 0. epsilons: from 0 to 1, rising.
    classes: names or numbers of those on the map; ten, evenly spread over all, where left out.
    images: how many at most are attacked, and how many at most are on the map.

    Raises ValueError for a temperature or an epsilon out of range.
    """

    split: str = "test"
    temperatures: Sequence[float] = (1, 4)
    epsilons: Sequence[float] = (0, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
    classes: Sequence[str] = ()
    images: int = 1000

    def __post_init__(self) -> None:
        for temperature in self.temperatures:
            if not 0 < temperature < float("inf"):
                raise ValueError(f"--temperature {temperature:g} should be a number above 0")
        for epsilon in self.epsilons:
            if not 0 <= epsilon <= 1:
                raise ValueError(f"--epsilon {epsilon:g} should be from 0 to 1, such as 8/255")


@dataclass(frozen=True)
class Sitter:
    """A network to be portrayed, under its label."""

    label: str
    trained: Trained


@dataclass(frozen=True)
class Scene:
    """What all networks are shown alike.

    classes: (K,) their numbers, of those on the map. attacked, mapped: rows of the split.
    """

    split: Split
    classes: list[int]
    mapped: Tensor
    attacked: Tensor


def analyse(
    folders: Sequence[Path],
    out: str | Path,
    wanted: Wanted,
    *,
    overrides: Sequence[str] = (),
    display: Lines,
    command: str = "",
) -> tuple[Analysis, Path]:
    """Analyses trained runs, and writes `report.html`, `numbers.json` and `figures/` to `out`.

    overrides: settings such as `data.root=…`, of all runs.
    Returns the analysis and the path of the page. Raises ValueError where a folder holds no trained
    network, the runs do not share their images, or what is wanted is not there.
    """
    check_folder(out := Path(out))
    sitters = _open(folders, wanted.split, overrides)
    data = sitters[0].trained.data
    scene = _scene(sitters[0].trained, wanted)
    found = Analysis(
        data=data.name,
        split=wanted.split,
        images=len(scene.split),
        attacked=len(scene.attacked),
        mapped=len(scene.mapped),
        total=len(data.classes),
        classes=[data.classes[number] for number in scene.classes],
        temperatures=list(wanted.temperatures),
        pgd_steps=robustness.STEPS,
        portraits=[_portray(sitter, scene, wanted, display) for sitter in sitters],
    )
    out.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(asdict(found), indent=1, allow_nan=False)
    (out / "numbers.json").write_text(numbers + "\n", encoding="utf-8")
    write_figures(found, out / "figures")
    page = write_analysis(found, out / "report.html", title="Analysis", command=command)
    return found, page


def _open(folders: Sequence[Path], split: str, overrides: Sequence[str]) -> list[Sitter]:
    """The runs with their labels. Raises ValueError where they do not share images and classes."""
    if not folders:
        raise ValueError("there is no run to analyse: give RUN_FOLDER")
    folders = list(dict.fromkeys(folders))
    names = labels([Run.read(folder) for folder in folders])
    sitters: list[Sitter] = []
    for folder, name in zip(folders, names):
        trained = reopen(folder, overrides)
        trained.split(split)
        if sitters:
            _check_same(sitters[0].trained, trained, split)
            trained = replace(trained, data=sitters[0].trained.data)  # hold the images once
        sitters.append(Sitter(name, trained))
    return sitters


def _check_same(one: Trained, other: Trained, split: str) -> None:
    both = f"{one.run.path} and {other.run.path}"
    if one.data.classes != other.data.classes:
        raise ValueError(f"{both} know other classes: give runs on the same data")
    if one.data.size != other.data.size:
        raise ValueError(
            f"{both} take images of {one.data.size} and {other.data.size} pixels: give runs of one"
            " size"
        )
    if one.split(split).fingerprint() != other.split(split).fingerprint():
        raise ValueError(
            f"{both} have other {split} images: give runs on the same data"
            + (", or choose --split test" if split != "test" else "")
        )


def labels(runs: Sequence[Run]) -> list[str]:
    """A label a run: with its seed where the rest is equal, with its folder where that is too."""
    every = [run.settings for run in runs]
    names = [label(settings, every) for settings in every]
    names = _apart(names, [f"seed={run.seed}" for run in runs])
    return _apart(names, [str(run.path) for run in runs])


def _apart(names: list[str], marks: list[str]) -> list[str]:
    """The names, with their marks where there are several of a name."""
    return [f"{n} {mark}" if names.count(n) > 1 else n for n, mark in zip(names, marks)]


def _scene(trained: Trained, wanted: Wanted) -> Scene:
    """The images that are looked at. Raises ValueError where there are too few of the classes."""
    split = trained.split(wanted.split)
    classes = choose(wanted.classes, trained.data.classes, trained.run.path)
    own = torch.isin(split.targets, torch.tensor(classes)).nonzero()[:, 0]
    mapped = draw(own, wanted.images)
    if len(mapped) < embedding.FEWEST:
        raise ValueError(
            f"the map needs {embedding.FEWEST} images or more, and there are {len(mapped)} of the"
            " chosen classes: choose others with --classes"
        )
    return Scene(split, classes, mapped, draw(torch.arange(len(split)), wanted.images))


def choose(wanted: Sequence[str], names: Sequence[str], folder: Path) -> list[int]:
    """The numbers of classes given by name or number; evenly spread ones where none are given.

    Raises ValueError for a class that there is not; `folder` tells where all are listed.
    """
    if not wanted:
        count = min(MAPPED, len(names))
        return [place * len(names) // count for place in range(count)]
    known = {name: place for place, name in enumerate(names)}
    numbers = {str(place): place for place in range(len(names))}
    chosen = []
    for text in wanted:
        if text not in known and text not in numbers:
            raise unknown("class", text, names, listing=str(folder / "config.json"))
        chosen.append(known[text] if text in known else numbers[text])
    return list(dict.fromkeys(chosen))


def fractions(text: str) -> list[float]:
    """Numbers such as `0.03,8/255`, rising. Raises ValueError."""
    try:
        return sorted({float(Fraction(part.strip())) for part in text.split(",")})
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--epsilon {text} should be numbers such as 0,0.03,8/255") from None


def draw(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows (N,), in their order; always the same."""
    order = torch.randperm(len(rows), generator=generator(SEED, len(rows)))
    return rows[order[:most].sort().values]


def _portray(sitter: Sitter, scene: Scene, wanted: Wanted, display: Lines) -> Portrait:
    """Runs a network over the split once, maps some of its features, and attacks it."""
    trained, name, split = sitter.trained, sitter.label, scene.split
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = trained.network.to(device)
    prepare(network)
    batches = _batches(trained, split, trained.config.eval.batch_size)
    batches = display.track(f"{name}: {len(split)} images", batches)
    precision = Machine.of(trained.run, trained.config, 1).precision
    autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
    seen = embedding.outputs(network, batches, autocast)
    display.say(f"{name}: map of {len(scene.mapped)} images")
    places = embedding.tsne(seen.features.cpu()[scene.mapped], seed=SEED).tolist()
    own = [scene.classes.index(target) for target in split.targets[scene.mapped].tolist()]
    points = [(round(x, 3), round(y, 3), at) for (x, y), at in zip(places, own)]
    # A gradient takes about as much memory as a step of training.
    batches = _batches(trained, split.take(scene.attacked), trained.config.data.batch_size)
    batches = display.track(f"{name}: attacks on {len(scene.attacked)} images", batches)
    found = robustness.sweep(network, batches, wanted.epsilons, seed=SEED)
    return portrait(name, str(trained.run.path), seen, wanted.temperatures, points, found)


def _batches(trained: Trained, split: Split, size: int) -> EvalLoader:
    return EvalLoader(
        split,
        size=trained.data.size,
        batch_size=size,
        device=next(trained.network.parameters()).device,
        workers=trained.config.data.workers,
    )
