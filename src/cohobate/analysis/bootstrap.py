"""How far the difference between two methods can be trusted, over seeds and over test images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cohobate.outcomes import Outcomes, Overlaps

RESAMPLES = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """Shares between which a difference lies, with the confidence `LEVEL`."""

    low: float
    high: float


def interval(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Interval:
    """The interval of mean(ours) - mean(theirs), for other seeds and other images of the same kind.

    ours, theirs: (S, N), whether each of S seeds answered each of N test images rightly; a row of
        one and the same row of the other are of one seed.

    With d_si = ours_si - theirs_si, each of `RESAMPLES` resamples draws S seeds and N images, both
    with replacement and independently of each other. F is the mean of d over all pairs of a drawn
    seed and a drawn image, D that over the drawn seeds and the images as they are, and m that of all
    of d. The interval is that of the percentiles 2.5 and 97.5 of m + c (D - m) + (F - D), with
    c = `widening`(S). Images that are alike in d for all seeds are drawn together, as one multinomial
    number, which is the same distribution. The random numbers are always the same ones.

    With c = 1 it is the bootstrap of Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
    1(2), 2007, https://arxiv.org/abs/0712.1111, which takes the spread over images for what it is,
    that of single answers for about three times as much, and that of S seeds for about (1 - 1/S) of
    it, as exactly as if S were many; hence c. `benchmarks/coverage.py` counts how often it errs.

    Raises ValueError for fewer than two seeds, of which no spread is known.
    """
    seeds, images = ours.shape
    _check(ours, theirs)
    difference = ours.astype(np.int8) - theirs.astype(np.int8)
    kinds, counts = np.unique(difference, axis=1, return_counts=True)
    random = np.random.default_rng(0)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    drawn_images = random.multinomial(images, counts / images, RESAMPLES)
    both = ((drawn_seeds @ kinds) * drawn_images).sum(1) / (seeds * images)
    return _middle(both, drawn_seeds, difference.mean(1))


def interval_of_overlaps(ours: NDArray[np.integer], theirs: NDArray[np.integer]) -> Interval:
    """The interval of the mean over seeds of mIoU(ours) - mIoU(theirs), resampled likewise.

    ours, theirs: (S, N, 2, C), the counts of `Overlaps`. mIoU is no mean over images, so it is counted
    anew on the images of every resample, whose pixels are added up class by class.
    """
    seeds, images, _, classes = ours.shape
    _check(ours, theirs)
    both = np.concatenate([ours, theirs]).swapaxes(0, 1).reshape(images, -1).astype(np.float64)

    def difference(drawn_images: NDArray[np.integer]) -> NDArray[np.floating]:
        """(R, S): of the mIoU on the images of R resamples, for each seed."""
        counts = (drawn_images @ both).reshape(-1, 2, seeds, 2, classes)
        common, either = counts.transpose(3, 0, 1, 2, 4)
        there = either > 0
        iou = np.divide(common, either, out=np.zeros_like(common), where=there)
        miou = iou.sum(-1) / there.sum(-1)
        return miou[:, 0] - miou[:, 1]

    random = np.random.default_rng(0)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    differences = []
    for some in np.array_split(drawn_seeds, RESAMPLES // 100):  # a hundredth of the memory
        drawn_images = random.multinomial(images, np.full(images, 1 / images), len(some))
        differences.append((difference(drawn_images) * some).sum(1) / seeds)
    (as_they_are,) = difference(np.ones((1, images), np.int64))
    return _middle(np.concatenate(differences), drawn_seeds, as_they_are)


def between(ours: Sequence[Outcomes | Overlaps], theirs: Sequence[Outcomes | Overlaps]) -> Interval:
    """The interval of the difference of two methods' scores; an outcome a seed, the same seeds in both."""
    sides = (ours, theirs)
    masks = [[each.counts for each in side if isinstance(each, Overlaps)] for side in sides]
    if all(masks):
        return interval_of_overlaps(*map(np.stack, masks))
    answers = [[each.right for each in side if isinstance(each, Outcomes)] for side in sides]
    return interval(*map(np.stack, answers))


def _check(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    if len(ours) < 2:
        raise ValueError(f"an interval takes two seeds or more, and there are {len(ours)}")
    assert theirs.shape == ours.shape


def widening(seeds: int) -> float:
    """How much farther S seeds may lie from their mean than resamples of them show.

    Resamples spread by sqrt((S - 1) / S) of what the standard deviation says, and so few seeds tell
    too little of their own deviation, for which Student's t has longer tails than the normal
    distribution: c = sqrt(S / (S - 1)) t(0.975; S - 1) / z(0.975). 9.2 for two seeds, 2.7 for three,
    1.6 for five.
    """
    far = (1 + LEVEL) / 2
    longer = stats.t.ppf(far, seeds - 1) / stats.norm.ppf(far)
    return float(np.sqrt(seeds / (seeds - 1)) * longer)


def _middle(
    both: NDArray[np.floating], drawn_seeds: NDArray[np.integer], differences: NDArray[np.floating]
) -> Interval:
    """The middle `LEVEL` of resamples whose part of the seeds is widened.

    both: (R,), the difference of each resample. drawn_seeds: (R, S), how often each drew each seed.
    differences: (S,), that of each seed on the images as they are.
    """
    seeds = len(differences)
    of_seeds = drawn_seeds @ differences / seeds - differences.mean()
    values = both + (widening(seeds) - 1) * of_seeds
    tail = (1 - LEVEL) / 2
    return Interval(*map(float, np.quantile(values.clip(-1, 1), [tail, 1 - tail])))
