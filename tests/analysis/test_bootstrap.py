"""The interval of a difference, against a slow loop over resampled indices and against known cases."""

from math import acos, cos, pi, sqrt, tan
from statistics import NormalDist

import numpy as np
import pytest

from cohobate.analysis import bootstrap
from cohobate.analysis.bootstrap import interval, interval_of_overlaps, widening

STUDENT = {
    2: tan(0.475 * pi),
    3: 0.95 / sqrt(2 * 0.975 * 0.025),
    5: 2 * sqrt(cos(acos(sqrt(4 * 0.975 * 0.025)) / 3) / sqrt(4 * 0.975 * 0.025) - 1),
}
"""The percentile 97.5 of Student's t for so many seeds, where it has a closed form."""


def widened(seeds):
    return sqrt(seeds / (seeds - 1)) * STUDENT[seeds] / NormalDist().inv_cdf(0.975)


def answers(seeds, images, share, seed):
    return np.random.default_rng(seed).random((seeds, images)) < share


def expanded(ours, theirs, resamples):
    """Seeds and images of each resample as indices, of the numbers that `interval` draws."""
    seeds, images = ours.shape
    columns = [tuple(ours[:, i].astype(int) - theirs[:, i].astype(int)) for i in range(images)]
    kinds = sorted(set(columns))
    members = [[i for i in range(images) if columns[i] == kind] for kind in kinds]
    random = np.random.default_rng(0)
    of_seeds = random.multinomial(seeds, [1 / seeds] * seeds, resamples)
    shares = np.array([len(some) for some in members]) / images
    of_kinds = random.multinomial(images, shares, resamples)
    for seed_counts, kind_counts in zip(of_seeds, of_kinds):
        chosen_seeds = [s for s, count in enumerate(seed_counts) for _ in range(count)]
        chosen_images = [
            some[number % len(some)]  # any image of the kind has these differences
            for some, count in zip(members, kind_counts)
            for number in range(count)
        ]
        assert len(chosen_seeds) == seeds and len(chosen_images) == images
        yield chosen_seeds, chosen_images


def test_interval_is_that_of_a_loop_over_the_same_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 60)
    ours, theirs = answers(3, 25, 0.8, 1), answers(3, 25, 0.6, 2)

    def mean(seeds, images):
        total = 0.0
        for s in seeds:
            for i in images:
                total += float(ours[s, i]) - float(theirs[s, i])
        return total / (len(seeds) * len(images))

    observed, means = mean(range(3), range(25)), []
    for seeds, images in expanded(ours, theirs, 60):
        of_seeds, of_both = mean(seeds, range(25)), mean(seeds, images)
        means.append(observed + widened(3) * (of_seeds - observed) + (of_both - of_seeds))
    means.sort()

    def percentile(share):
        place = share * (len(means) - 1)
        below = int(place)
        above = min(below + 1, len(means) - 1)
        return means[below] + (place - below) * (means[above] - means[below])

    assert interval(ours, theirs) == pytest.approx((percentile(0.025), percentile(0.975)))


def test_interval_is_that_of_images_drawn_one_by_one():
    """The plain bootstrap, with random numbers of its own: equal but for their noise."""
    ours, theirs = answers(5, 300, 0.85, 3), answers(5, 300, 0.75, 4)
    difference = ours.mean(1) - theirs.mean(1)
    random = np.random.default_rng(5)
    means = []
    for _ in range(4000):
        seeds, images = random.integers(0, 5, 5), random.integers(0, 300, 300)
        both = ours[seeds][:, images].mean() - theirs[seeds][:, images].mean()
        means.append(both + (widened(5) - 1) * (difference[seeds].mean() - difference.mean()))
    assert interval(ours, theirs) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975])), abs=0.005
    )


@pytest.mark.parametrize("seeds", STUDENT)
def test_few_seeds_are_as_far_apart_as_student_says(seeds):
    assert widening(seeds) == pytest.approx(widened(seeds), rel=1e-6)


@pytest.mark.parametrize("seeds", STUDENT)
def test_methods_that_do_not_differ_are_seldom_told_apart(seeds, monkeypatch):
    """Of intervals of 95 %, one of twenty may leave out the difference that is none."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    random, found = np.random.default_rng(seeds), 0
    for _ in range(60):
        hard = random.random(150) * 1.2
        ours, theirs = (
            random.random((seeds, 150)) > hard + random.normal(0, 0.08, (seeds, 1)) for _ in "ab"
        )
        low, high = interval(ours, theirs)
        found += low > 0 or high < 0
    assert found <= 7  # more than that comes in one of a hundred cases, where 5 % is true


def test_no_share_differs_by_more_than_all():
    unsteady = np.stack([np.zeros(40, bool), np.ones(40, bool)])
    assert interval(unsteady, np.zeros((2, 40), bool)) == (-1, 1)


def test_methods_that_answer_alike_differ_by_nothing():
    ours = answers(3, 50, 0.7, 0)
    assert interval(ours, ours) == (0, 0)


def test_a_difference_of_every_image_is_certain():
    ours = np.ones((2, 40), bool)
    assert interval(ours, ~ours) == (1, 1)
    assert interval(~ours, ours) == (-1, -1)


def test_pairing_matters():
    """Two methods that fail on the same hard images are told apart, where they are paired."""
    hard = answers(1, 2000, 0.5, 0).repeat(3, axis=0)
    ours = hard.copy()
    ours[:, :60] = True
    low, high = interval(ours, hard)
    assert 0 < low < ours.mean() - hard.mean() < high
    shuffled = ours[:, np.random.default_rng(1).permutation(2000)]
    assert interval(shuffled, hard).low < 0


def test_seeds_that_disagree_widen_it():
    steady = np.zeros((3, 1000), bool)
    steady[:, :100] = True
    unsteady = np.zeros((3, 1000), bool)
    unsteady[0, :300] = True
    plain = np.zeros((3, 1000), bool)
    assert interval(steady, plain).low > 0.07
    low, high = interval(unsteady, plain)
    assert low < 0 and high > 0.3


def test_turned_round_it_is_its_mirror_image():
    ours, theirs = answers(5, 400, 0.8, 7), answers(5, 400, 0.7, 8)
    low, high = interval(ours, theirs)
    assert interval(theirs, ours) == pytest.approx((-high, -low), abs=0.003)


def test_one_seed_has_none():
    with pytest.raises(ValueError, match="takes two seeds or more, and there are 1"):
        interval(answers(1, 9, 0.5, 0), answers(1, 9, 0.5, 1))


def test_ten_thousand_images_are_no_trouble():
    ours, theirs = answers(5, 10_000, 0.7, 0), answers(5, 10_000, 0.69, 1)
    low, high = interval(ours, theirs)
    assert low < ours.mean() - theirs.mean() < high


def test_miou_is_counted_anew_on_the_images_of_every_resample():
    random = np.random.default_rng(3)
    seeds, images, classes = 3, 8, 2
    either = random.integers(5, 60, (2, seeds, images, classes))
    common = (either * random.uniform(0.3, 0.9, either.shape)).astype(int)
    ours, theirs = np.stack([common, either], 3)
    found = interval_of_overlaps(ours, theirs)

    def miou(drawn_seeds, rows):
        total = 0.0
        for seed in drawn_seeds:
            for side, sign in ((ours, 1), (theirs, -1)):
                for kind in range(classes):
                    some = side[seed, rows, :, kind]
                    total += sign * some[:, 0].sum() / some[:, 1].sum() / classes / seeds
        return total

    every, values = np.arange(images), []
    observed = miou(range(seeds), every)
    for _ in range(4000):
        rows, drawn = random.integers(0, images, images), random.integers(0, seeds, seeds)
        of_seeds = miou(drawn, every)
        values.append(observed + widened(3) * (of_seeds - observed) + miou(drawn, rows) - of_seeds)
    assert found == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.02)
    with pytest.raises(ValueError, match="two seeds or more"):
        interval_of_overlaps(ours[:1], theirs[:1])
