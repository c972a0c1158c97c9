"""Detection scores against their definitions, pair by pair and threshold by threshold."""

import math

import pytest
import torch

from cohobate.analysis.ood import detect

GENERATOR = torch.Generator().manual_seed(0)
OWN = 3 * torch.randn(80, 5, generator=GENERATOR)
OTHERS = 2 * torch.randn(50, 5, generator=GENERATOR)


def softmax(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


SCORES = {
    "max_softmax": lambda row: max(softmax(row)),
    "energy": lambda row: math.log(sum(math.exp(value) for value in row)),
    "entropy": lambda row: sum(p * math.log(p) for p in softmax(row)),
}


@pytest.mark.parametrize("name", SCORES)
def test_auroc_is_how_often_an_own_image_scores_higher(name):
    own, others = ([SCORES[name](row) for row in rows.tolist()] for rows in (OWN, OTHERS))
    higher = sum((a > b) + 0.5 * (a == b) for a in own for b in others)
    found = detect(OWN, OTHERS)[name]
    assert found.auroc == pytest.approx(higher / (80 * 50))
    # The highest threshold that 95 % of the own images, 76 of them, reach.
    threshold = sorted(own, reverse=True)[75]
    assert found.fpr95 == pytest.approx(sum(b >= threshold for b in others) / 50)


def test_what_is_apart_is_told_apart_and_what_is_the_same_is_not():
    sure, unsure = torch.eye(4) * 50, torch.zeros(6, 4)
    for found in detect(sure, unsure).values():
        assert (found.auroc, found.fpr95) == (1, 0)
    for found in detect(OWN, OWN).values():
        assert found.auroc == pytest.approx(0.5)
    for found in detect(unsure, sure).values():
        assert (found.auroc, found.fpr95) == (0, 1)


def test_very_sure_images_are_told_apart():
    """Their highest probabilities are 1 in float32, and in float64 nearly so."""
    surer, sure = torch.tensor([[30.0, 0.0]]), torch.tensor([[20.0, 0.0]])
    assert detect(surer, sure)["max_softmax"].auroc == 1
