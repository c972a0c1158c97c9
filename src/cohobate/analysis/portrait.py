"""What was found out about trained networks, in plain numbers that figures and tables are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from string import Formatter
from typing import NamedTuple

import torch
from torch import Tensor

from cohobate.analysis import calibration, embedding
from cohobate.analysis.attention import Looked
from cohobate.analysis.calibration import Reliability
from cohobate.analysis.confusion import Confusion, confusion
from cohobate.analysis.embedding import Outputs
from cohobate.analysis.figures import Style
from cohobate.analysis.heads import HeadScore
from cohobate.analysis.mixtures import Mixed
from cohobate.analysis.pictures import Sheet
from cohobate.analysis.robustness import Robustness
from cohobate.analysis.rows import percent
from cohobate.analysis.similarity import Similarity
from cohobate.analysis.softness import Softness

Point = tuple[float, float, int]


@dataclass(frozen=True)
class Histogram:
    """How values are spread: the share of them in each bin, and their mean."""

    edges: list[float]
    shares: list[float]
    mean: float

    @classmethod
    def of(
        cls, values: Tensor, low: float | None = None, high: float | None = None, bins: int = 30
    ) -> "Histogram":
        """Of values (N,), in bins of equal width over the range given, else over their own."""
        values = values.double()
        low = float(values.min()) if low is None else low
        high = float(values.max()) if high is None else high
        if high <= low:
            low, high = low - 0.5, low + 0.5
        edges = torch.linspace(low, high, bins + 1, dtype=values.dtype, device=values.device)
        place = torch.bucketize(values, edges[1:-1])
        shares = torch.bincount(place, minlength=bins).double() / len(values)
        return cls(edges.tolist(), shares.tolist(), float(values.mean()))


@dataclass(frozen=True)
class Portrait:
    """What was found out about one network.

    top1, ece: shares in [0, 1]; with nll and brier at a temperature of 1, over all images.
    entropy, confidence: of each image's probabilities, at each temperature of the analysis.
    scatter: tr(S_w) / tr(S_b) of the features; None where all class means are one point.
    cosine: of a feature with the mean of its class, averaged.

    What is asked of fewer images, or not of every network, is empty or None where it was not wanted
    or cannot be had.
    points: (x, y, class) on the map, of the images of the chosen classes, the class by its place among these.
    heads: of all heads of the method, where it has more than its network's, on the drawn images. looked: where networks look on some images.
    mixtures: drawn as those that the method learns from. softness: of the network and its teacher.
    """

    label: str
    folder: str
    top1: float
    nll: float
    brier: float
    ece: float
    scatter: float | None
    cosine: float
    norms: Histogram
    entropy: list[Histogram]
    confidence: list[Histogram]
    reliability: Reliability
    confusion: Confusion
    points: list[Point] = field(default_factory=list)
    robustness: Robustness | None = None
    heads: list[HeadScore] = field(default_factory=list)
    mixtures: list[Mixed] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    softness: Softness | None = None


@dataclass(frozen=True)
class Seen:
    """What a network scores whose answers lie all over an image.

    scores: on all images, as the task names them. marks: of each of the drawn images, None where there
    is nothing to be told. curves: of each class its precision at equal steps of recall on these, of a
    task that has it.
    """

    label: str
    folder: str
    scores: dict[str, float]
    marks: list[float | None]
    curves: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Answered:
    """A run's answer to an image, its mark from 0 to 1 or None, and pictures of it and of what is wrong."""

    label: str
    mark: float | None
    prediction: str
    error: str


@dataclass(frozen=True)
class Pictured:
    """An image and its truth, and the answers of all runs. kind: worst, median or best."""

    kind: str
    name: str
    image: str
    truth: str
    answers: list[Answered]


@dataclass(frozen=True)
class Analysis:
    """Portraits of networks on the same images.

    only: the sections that are wanted. styles: how each run is drawn, those without a portrait too.
    images, drawn, mapped: how many images the scores, what costs more, and the map are of.
    names: of all classes. classes: of those on the map.
    sheet: thumbnails of the images on the map, in the order of a portrait's points.
    seen, pictured: of a task whose answers lie all over an image. mark: what the marks in them are
        called. legend: the colours of the pictures.
    warnings: what the runs do not share, and what else to be wary of, a sentence each.
    left_out: a sentence for everything that is missing, and why.
    """

    data: str
    split: str
    only: list[str]
    styles: dict[str, Style]
    temperatures: list[float]
    pgd_steps: int
    images: int = 0
    drawn: int = 0
    mapped: int = 0
    names: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    portraits: list[Portrait] = field(default_factory=list)
    similarities: list[Similarity] = field(default_factory=list)
    sheet: Sheet | None = None
    seen: list[Seen] = field(default_factory=list)
    pictured: list[Pictured] = field(default_factory=list)
    mark: str = ""
    legend: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def class_scores(self) -> list[str]:
        """The scores of single classes that some run has, such as `iou/dog`."""
        every = dict.fromkeys(name for run in self.seen for name in run.scores)
        return [name for name in every if "/" in name]

    @property
    def headed(self) -> list[Portrait]:
        """The portraits of methods that have more heads than their network's."""
        return [portrait for portrait in self.portraits if portrait.heads]

    @property
    def depth(self) -> int:
        """Stages of the deepest network of which there are pictures."""
        looks = [look for each in self.portraits for seen in each.looked for look in seen.looks]
        return max((len(look.pictures) for look in looks), default=0)


def portrait(label: str, folder: str, seen: Outputs, temperatures: Sequence[float]) -> Portrait:
    """The portrait of a network by what it says of images."""
    features, logits, targets = seen
    bars = calibration.reliability(logits, targets)
    most = log(logits.shape[1])
    return Portrait(
        label=label,
        folder=folder,
        top1=float((logits.argmax(1) == targets).double().mean()),
        nll=calibration.nll(logits, targets),
        brier=calibration.brier(logits, targets),
        ece=bars.ece,
        scatter=embedding.scatter_ratio(features, targets),
        cosine=embedding.cosine_to_centroid(features, targets),
        norms=Histogram.of(embedding.norms(features)),
        entropy=[Histogram.of(calibration.entropy(logits, t), 0, most) for t in temperatures],
        confidence=[Histogram.of(calibration.confidence(logits, t), 0, 1) for t in temperatures],
        reliability=bars,
        confusion=confusion(logits, targets),
    )


class Column(NamedTuple):
    """A column of the table: its heading, the key of its value in a portrait, and what it means."""

    heading: str
    key: str
    """Such as `entropy[0].mean`, in the portrait and in its part of numbers.json."""
    meaning: str
    digits: int | None = 3
    """After the point; None for shares, shown in percent."""

    def value(self, portrait: Portrait) -> float | None:
        return Formatter().get_field(f"0.{self.key}", (portrait,), {})[0]

    def show(self, portrait: Portrait) -> str:
        value = self.value(portrait)
        if self.digits is None or value is None:
            return percent(value)
        return f"{value:.{self.digits}f}".replace("-", "−")


def columns(analysis: Analysis) -> list[Column]:
    """The columns of the table after the label: first what there is of any network."""
    fixed = [
        Column("top-1 (%)", "top1", "share of images classified correctly", None),
        Column("NLL", "nll", "negative log-likelihood of the right class in nats, lower is better", 4),
        Column("Brier", "brier", "squared distance from the probabilities to the right class, lower is better", 4),
        Column("ECE (%)", "ece", "expected calibration error over 15 bins, lower is better", None),
        Column("scatter", "scatter", "of features within classes ÷ between them, tr(Sw)/tr(Sb): lower is tighter"),
        Column("cosine", "cosine", "of a feature with the mean of its class: higher is tighter"),
        Column("norm", "norms.mean", "mean length of the features", 2),
    ]  # fmt: skip
    for place, temperature in enumerate(analysis.temperatures):
        at = f"T={temperature:g}"
        fixed += [
            Column(f"entropy {at}", f"entropy[{place}].mean", f"mean entropy of the probabilities at {at}, in nats"),
            Column(f"max p {at}", f"confidence[{place}].mean", f"mean highest probability at {at}"),
        ]  # fmt: skip
    return fixed
