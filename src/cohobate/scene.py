"""What an analysis looks at: the sections of its page, and the images that all runs are shown alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from cohobate.analysis import attention, embedding, matrices, mixtures, similarity
from cohobate.core import unknown
from cohobate.data.draws import generator
from cohobate.data.splits import Split
from cohobate.trained import Trained

SEED = 0
"""Of the images that are drawn, the starts of attacks, and the maps: the same for every run."""
MAPPED = 10
"""Classes on the map where none were chosen."""
SECTIONS = {
    "comparison": "it takes runs that are done, of two methods or of one with other settings",
    "curves": "no run is done",
    "calibration": "",
    "confusion": f"a matrix of more than {matrices.MOST} classes is too large for a page: it lies in"
    " figures/confusion.png",
    "features": "",
    "robustness": "",
    "heads": "it takes exits, heads on stages, a self-teacher, peers or a teacher; joint classifiers of class"
    " and rotation on the last features are not shown",
    "mixtures": "it takes a method that mixes images, and images of two classes",
    "attention": "no network here has stages that can be tapped",
    "similarity": "it takes two networks whose stages can be tapped, and"
    f" {similarity.FEWEST} images or more",
    "temperature": "no run here has a teacher",
}
"""What a page can hold, and why it may be missing although there are networks."""
VIEWED = {name: SECTIONS[name] for name in ("comparison", "curves")} | {"pictures": ""}
"""Likewise, of a task whose answers lie all over an image."""


@dataclass(frozen=True)
class Wanted:
    """What an analysis looks at.

    split: train, val or test. temperatures: above 0. epsilons: from 0 to 1, rising.
    classes: names or numbers of those on the map; ten, evenly spread over all, where left out.
    images: how many at most are on the map, and are drawn for all that takes more than one pass.
    only: sections of the page, of `SECTIONS` or `VIEWED`; all of them where left out.

    Raises ValueError for a temperature or an epsilon out of range, and for an unknown section.
    """

    split: str = "test"
    temperatures: Sequence[float] = (1, 4)
    epsilons: Sequence[float] = (0, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
    classes: Sequence[str] = ()
    images: int = 1000
    only: Sequence[str] = ()

    def __post_init__(self) -> None:
        for temperature in self.temperatures:
            if not 0 < temperature < float("inf"):
                raise ValueError(f"--temperature {temperature:g} should be a number above 0")
        for epsilon in self.epsilons:
            if not 0 <= epsilon <= 1:
                raise ValueError(f"--epsilon {epsilon:g} should be from 0 to 1, such as 8/255")
        for name in self.only:
            if name not in SECTIONS | VIEWED:
                raise unknown("section of --only", name, SECTIONS | VIEWED)

    def wants(self, section: str) -> bool:
        return not self.only or section in self.only


@dataclass(frozen=True)
class Scene:
    """What all networks are shown alike.

    classes: (K,) their numbers, of those on the map. mapped, drawn: rows of the split.
    pairs: rows, two and two of different classes, that are mixed. looked: rows that are pictured.
    """

    split: Split
    classes: list[int]
    mapped: Tensor
    drawn: Tensor
    pairs: Tensor
    looked: Tensor


def arranged(trained: Trained, wanted: Wanted) -> Scene:
    """The images that are looked at. Raises ValueError where there are too few of the classes."""
    split = trained.split(wanted.split)
    classes = choose(wanted.classes, trained.data.classes, trained.run.path)
    own = torch.isin(split.targets, torch.tensor(classes)).nonzero()[:, 0]
    if not len(own):
        raise ValueError(
            f"--split {wanted.split} has no image of the chosen classes: choose others with --classes"
        )
    mapped = draw(own, wanted.images)
    if wanted.wants("features") and len(mapped) < embedding.FEWEST:
        raise ValueError(
            f"the map needs {embedding.FEWEST} images or more, and there are {len(mapped)}: "
            + (
                "ask for more with --images"
                if len(own) > len(mapped)
                else "choose other classes with --classes"
            )
        )
    looked = [row for number in classes if len(row := (split.targets == number).nonzero()[:1, 0])]
    return Scene(
        split=split,
        classes=classes,
        mapped=mapped,
        drawn=draw(torch.arange(len(split)), wanted.images),
        pairs=mixtures.pairs(split.targets, SEED),
        looked=torch.cat(looked)[:: max(1, len(looked) // attention.IMAGES)][: attention.IMAGES],
    )


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
    places = shuffled(torch.arange(len(rows)))[:most]
    return rows[places.sort().values]


def shuffled(rows: Tensor) -> Tensor:
    """The rows (N,) in an order of chance, always the same: many data sets list class by class."""
    return rows[torch.randperm(len(rows), generator=generator(SEED, len(rows)))]
