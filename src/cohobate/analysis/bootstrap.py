"""How far the difference between two methods can be trusted, over seeds and over test images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    with replacement and independently of each other; its value is the mean of d over all pairs of a
    drawn seed and a drawn image. The interval is that of the percentiles 2.5 and 97.5. Images that
    are alike in d for all seeds are drawn together, as one multinomial number, which is the same
    distribution. The random numbers are always the same ones.

    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007,
    https://arxiv.org/abs/0712.1111. It takes the spread over images for what it is, that of single
    answers for about three times as much, and that of S seeds for about (1 - 1/S) of it: in
    simulations of nominally 95 %, intervals held the true difference in 98 to 100 % of the cases
    where images were few or seeds alike, and in 89 % (2 seeds) and 91 % (3 seeds) of those where
    accuracies on 10,000 images differed by 0.6 points from seed to seed.

    Raises ValueError for fewer than two seeds, of which no spread is known.
    """
    seeds, images = ours.shape
    if seeds < 2:
        raise ValueError(f"an interval takes two seeds or more, and there are {seeds}")
    assert theirs.shape == ours.shape
    difference = ours.astype(np.int8) - theirs.astype(np.int8)
    kinds, counts = np.unique(difference, axis=1, return_counts=True)
    random = np.random.default_rng(0)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    drawn_images = random.multinomial(images, counts / images, RESAMPLES)
    means = ((drawn_seeds @ kinds) * drawn_images).sum(1) / (seeds * images)
    tail = (1 - LEVEL) / 2
    return Interval(*map(float, np.quantile(means, [tail, 1 - tail])))
