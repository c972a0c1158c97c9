"""How often `compare` finds a difference between two methods that do not differ: nominally in 5 %.

    python benchmarks/coverage.py [--repeats 400]

Draws difficulties of test images, and for either method a few runs whose ability varies from seed to
seed around the same value; each run answers each image rightly by the logistic of ability less
difficulty. Whatever difference an interval then holds to be there is a false finding. Prints their
share for several sizes of test set, spreads over seeds, and numbers of seeds, with the intervals'
median width. The random numbers are always the same ones; about two minutes on a core.
"""

import argparse
from statistics import median

import numpy as np
from scipy.special import expit

from cohobate.analysis import bootstrap
from cohobate.display import show

SETTINGS = [(599, -4.0, s) for s in (0.05, 0.3, 0.9)] + [(10_000, -2.0, s) for s in (0.02, 0.1)]
"""Test images, their mean difficulty, and how much the ability varies from seed to seed."""
SEEDS = (2, 3, 5)


def runs(
    random: np.random.Generator, difficulty: np.ndarray, spread: float, seeds: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the runs of a method answer, (S, N) bool, and the accuracy that each would tend to."""
    chance = expit(random.normal(0, spread, (seeds, 1)) - difficulty)
    return random.random(chance.shape) < chance, chance.mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=400, help="Comparisons for each number.")
    repeats = parser.parse_args().repeats
    bootstrap.RESAMPLES = 2000  # of 10,000: percentiles a little less exact, and in less time
    random, rows = np.random.default_rng(1), []
    for images, mean, spread in SETTINGS:
        found, deviations = list[str](), list[float]()
        for seeds in SEEDS:
            false, widths = 0, list[float]()
            for _ in range(repeats):
                difficulty = random.normal(mean, 3, images)
                (ours, true), (theirs, other) = (
                    runs(random, difficulty, spread, seeds) for _ in range(2)
                )
                low, high = bootstrap.interval(ours, theirs)
                false += low > 0 or high < 0
                widths.append(high - low)
                deviations.append(float(np.mean([true.var(ddof=1), other.var(ddof=1)])))
            found.append(f"{100 * false / repeats:.1f} (±{50 * median(widths):.1f})")
        rows.append((f"{images:,}", f"{100 * np.sqrt(np.mean(deviations)):.2f}", *found))
    heads = [f"{seeds} seeds: false findings, %" for seeds in SEEDS]
    show(["images", "sd over seeds, points", *heads], rows)


if __name__ == "__main__":
    main()
