"""A network on data sets that are not its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cohobate import build, linear
from cohobate import config as settings
from cohobate.analysis.few_shot import FewShot, few_shot
from cohobate.analysis.few_shot import check as check_shots
from cohobate.config import Override
from cohobate.data.classification import ImageSet
from cohobate.data.splits import Split
from cohobate.linear import LinearScores
from cohobate.models import Classifier


@dataclass(frozen=True)
class OnAnother:
    """What the features are worth on another data set: learnt from all its images, and from few."""

    scores: LinearScores
    few: list[FewShot]


def prepared(name: str, network: Classifier, shots: Sequence[int]) -> linear.Other:
    """Another data set, as `--on` names it, of enough images for all shots. Raises ValueError."""
    with _named("--on", name):
        other = linear.other(network, _settings(name))
        for few in shots:
            check_shots(other.data.train.targets, few, other.data.classes)
        return other


def learnt(network: Classifier, other: linear.Other, shots: Sequence[int], draws: int) -> OnAnother:
    """What can be learnt of another data set from the features of a network."""
    found = linear.seen(network, other)
    few = [few_shot(found.train, found.test, each, draws, found.data.classes) for each in shots]
    return OnAnother(linear.scores(found), few)


def strangers(name: str, own: Split, size: int) -> ImageSet:
    """Another data set with test images, as `--ood` names it, at the size of the own. Raises ValueError."""
    with _named("--ood", name):
        table = settings.override({"data": {"val": 0, "size": size}}, _settings(name))
        data = build.load_data(settings.parse(table, name))
        if data.test is None:
            raise ValueError("it has no test split to look at")
        if data.test.fingerprint() == own.fingerprint():
            raise ValueError("it is the network's own data: give another set")
        return data


def _settings(name: str) -> list[Override]:
    """The settings that NAME or NAME:ROOT stands for."""
    name, colon, root = name.partition(":")
    return [("data.name", name), *([("data.root", root)] if colon else [])]


@contextmanager
def _named(option: str, name: str) -> Iterator[None]:
    """Says in an error which option it is about."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{option} {name}: {error}") from error
