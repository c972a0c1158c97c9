"""What the features of a trained network are worth on another data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from cohobate import build, defaults
from cohobate import config as settings
from cohobate.analysis.embedding import outputs
from cohobate.config import Override, RunConfig
from cohobate.data.classification import ImageSet
from cohobate.data.draws import generator
from cohobate.data.loader import EvalLoader, looked_at
from cohobate.data.splits import Split
from cohobate.models import Classifier
from cohobate.optim import Recipe
from cohobate.trained import named_network, open_file
from cohobate.transfer import Source

NEIGHBOURS = 20
DEFAULTS = {
    "data": {"val": 0, "batch_size": 64},
    "optim": {
        "epochs": 100,
        "lr": 0.1,
        "schedule": "step",
        "milestones": [30, 60, 90],
        "warmup": 0,
        "weight_decay": 0,
        "clip": 0,
    },
}
"""The settings of HSAKD's linear evaluation."""
TAKEN = ("data", "optim", "eval", "seed")
"""The tables of a run file that an evaluation takes settings of."""
OF_FILES = (*TAKEN, "model")
"""The same of a checkpoint file, which does not tell its network."""
REFUSED = (
    *("model.freeze", "model.pretrained"),
    *("data.augment", "data.class_weights", "eval.oracle"),
    *("optim.accumulate", "optim.backbone_lr", "optim.ema", "optim.swa"),
)
"""Settings that an evaluation of cached features has no use for."""


@dataclass(frozen=True)
class LinearScores:
    """Top-1 on the test split of `data`, as shares in [0, 1].

    linear: of a linear classifier. neighbours: of the nearest neighbours.
    """

    data: str
    train: int
    test: int
    linear: float
    neighbours: float


def linear(source: str | Path, overrides: Sequence[str]) -> LinearScores:
    """Linear evaluation of a trained network on another data set, and k-NN beside it.

    A fresh linear classifier on the frozen features, as in HSAKD (Yang et al., IJCAI 2021,
    https://arxiv.org/abs/2107.13715, its table on STL-10 and TinyImageNet): SGD with Nesterov
    momentum. k-NN: the 20 nearest training images by cosine.

    source: a run's folder or file, a folder of timm's form, a checkpoint file, or `timm:NAME`.
    overrides: settings of `[data]`, `[optim]`, `[eval]` and `seed`; `data.name` is needed, and of
        a checkpoint file `model.arch`. `data.size` is by default the size that the network was
        trained at; for a checkpoint file, which does not tell it, the data's own.

    Differs from the paper: the features are computed once, in eval mode and without augmentation,
    and shuffled anew every epoch; images are normalised as the network's own training images, and
    photographs cut as its `crop_pct` says; and the last epoch counts, not the best on the test set.
    Raises ValueError where the source, the settings or the data are not as they should be.
    """
    return scores(opened(Source.of(str(source)), overrides))


@dataclass(frozen=True)
class Seen:
    """What a network makes of another data set: features (N, D), float32, and classes (N,)."""

    data: ImageSet
    config: RunConfig
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def opened(source: Source, overrides: Sequence[Override]) -> Seen:
    """What a network that has to be opened first makes of the data that the settings name.

    Raises ValueError.
    """
    if source.path and source.path.is_file():
        config = settled(overrides, OF_FILES)
        network, data = open_file(source.path, config)
        return seen(network, Other(_tested(data), config))
    network = named_network(str(source.path or source.name))
    return seen(network, other(network, overrides))


class Other(NamedTuple):
    """Another data set, and the settings of an evaluation on it."""

    data: ImageSet
    config: RunConfig


def other(network: Classifier, overrides: Sequence[Override]) -> Other:
    """The data that the settings name, at the size that the network takes. Raises ValueError."""
    config = _sized(settled(overrides), network)
    return Other(_tested(build.load_data(config)), config)


def _tested(data: ImageSet) -> ImageSet:
    """The data. Raises ValueError where there is none to test on."""
    if data.test is None:
        raise ValueError(f"{data.name} has no test split to score on")
    return data


def seen(network: Classifier, other: Other) -> Seen:
    """The features of another data set."""
    data, config = other
    assert data.test is not None, "it is loaded for its test split"
    network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    train, test = (features(network, split, config, data.size) for split in (data.train, data.test))
    return Seen(data, config, train, test)


def scores(found: Seen) -> LinearScores:
    """Of a linear classifier of the features, trained by the settings' recipe, and of neighbours."""
    (train, targets), (test, expected) = found.train, found.test
    return LinearScores(
        data=found.data.name,
        train=len(train),
        test=len(test),
        linear=float(right(found).float().mean()),
        neighbours=nearest(train, targets, test, expected),
    )


def right(found: Seen) -> Tensor:
    """Which test images a linear classifier of the features recognises, (N,) bool."""
    classifier = probe(*found.train, len(found.data.classes), found.config)
    test, expected = found.test
    with torch.no_grad():
        return classifier(test).argmax(1) == expected


def settled(overrides: Sequence[Override], taken: Sequence[str] = TAKEN) -> RunConfig:
    """The settings of an evaluation, the size of its images aside, which the network tells.

    taken: what they may be of.
    Raises ValueError for those that concern the training of a network, and where no data is named.
    """
    keys = (
        each.partition("=")[0].strip() if isinstance(each, str) else each[0] for each in overrides
    )
    for key in keys:
        if key.split(".")[0] not in taken or key in REFUSED:
            raise ValueError(
                f"transfer linear takes no {key}: the network stays as it is, and so do the images"
            )
    config = settings.parse(settings.override(DEFAULTS, overrides), "transfer linear")
    if "name" not in config.data.model_fields_set:
        raise ValueError(
            "transfer linear needs a data set: data.name=NAME data.root=FOLDER, such as"
            " data.name=stl10"
        )
    return defaults.resolve(config)[0]


def _sized(config: RunConfig, network: Classifier) -> RunConfig:
    """The settings with the size of images that the network takes, unless another one is asked for."""
    size = config.data.size or network.size
    if size != network.size and network.net.pretrained_cfg.get("fixed_input_size"):
        raise ValueError(
            f"data.size={size}: this network takes images of {network.size} pixels alone"
        )
    data = config.data.model_copy(update={"size": size})
    return config.model_copy(update={"data": data})


def features(
    network: Classifier, split: Split, config: RunConfig, size: int
) -> tuple[Tensor, Tensor]:
    """What reaches the classifier (N, D), float32, and the classes (N,) of a split."""
    batches = EvalLoader(
        split,
        size=size,
        batch_size=config.eval.batch_size,
        device=next(network.parameters()).device,
        workers=config.data.workers,
        share=looked_at(network.net.pretrained_cfg),
    )
    seen = outputs(network, batches)
    return seen.features, seen.targets


def probe(train: Tensor, targets: Tensor, classes: int, config: RunConfig) -> nn.Linear:
    """A linear classifier of features (N, D), trained by the recipe of [optim]."""
    torch.manual_seed(config.seed)
    classifier = nn.Linear(train.shape[1], classes).to(train.device)
    recipe: Recipe = config.optim
    optimizer = recipe.optimizer(classifier, ())
    size = config.data.batch_size
    steps = -(-len(train) // size)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(train), generator=generator(config.seed, epoch))
        for k, rows in enumerate(order.to(train.device).split(size)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(epoch * steps + k, steps)
            optimizer.zero_grad()
            F.cross_entropy(classifier(train[rows]), targets[rows]).backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(classifier.parameters(), recipe.clip)
            optimizer.step()
    return classifier


def nearest(train: Tensor, targets: Tensor, test: Tensor, expected: Tensor) -> float:
    """Top-1 (0 to 1) of the vote of the nearest training features by cosine."""
    count = min(NEIGHBOURS, len(train))
    neighbours = KNeighborsClassifier(count, metric="cosine")
    neighbours.fit(train.cpu().numpy(), targets.cpu().numpy())
    return float(neighbours.score(test.cpu().numpy(), expected.cpu().numpy()))
