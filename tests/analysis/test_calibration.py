"""Calibration against its formulas, in float64 and with loops over images and classes."""

from math import exp, inf, log, nan

import pytest
import torch
from torch import nn

from cohobate import evaluate
from cohobate.analysis import calibration
from cohobate.core import Batch

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(200, 5, generator=GENERATOR)
TARGETS = torch.randint(5, (200,), generator=GENERATOR)


def softmax(row, temperature):
    powers = [exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def rows(temperature):
    return [(softmax(row, temperature), y) for row, y in zip(LOGITS.tolist(), TARGETS.tolist())]


@pytest.mark.parametrize("temperature", [1, 4, 0.5])
def test_scores_are_their_formulas(temperature):
    table = rows(temperature)
    nll = sum(-log(p[y]) for p, y in table) / 200
    brier = sum(sum((p[k] - (k == y)) ** 2 for k in range(5)) for p, y in table) / 200
    assert calibration.nll(LOGITS, TARGETS, temperature=temperature) == pytest.approx(nll)
    assert calibration.brier(LOGITS, TARGETS, temperature=temperature) == pytest.approx(brier)
    entropy = [-sum(value * log(value) for value in p) for p, _ in table]
    assert calibration.entropy(LOGITS, temperature).tolist() == pytest.approx(entropy)
    highest = [max(p) for p, _ in table]
    assert calibration.confidence(LOGITS, temperature).tolist() == pytest.approx(highest)


@pytest.mark.parametrize(("temperature", "bins"), [(1, 15), (4, 15), (1, 4)])
def test_bins_and_their_error_are_their_formulas(temperature, bins):
    found = calibration.reliability(LOGITS, TARGETS, temperature=temperature, bins=bins)
    ece = 0.0
    for m in range(bins):
        own = [(max(p), p.index(max(p)) == y) for p, y in rows(temperature) if m / bins < max(p) <= (m + 1) / bins]  # fmt: skip
        assert found.count[m] == len(own)
        if not own:
            assert found.confidence[m] is found.accuracy[m] is None
            continue
        mean = sum(confidence for confidence, _ in own) / len(own)
        share = sum(hit for _, hit in own) / len(own)
        assert found.confidence[m] == pytest.approx(mean)
        assert found.accuracy[m] == pytest.approx(share)
        ece += len(own) / 200 * abs(share - mean)
    assert found.ece == pytest.approx(ece)


def test_a_sure_network_falls_into_the_last_bin():
    logits = torch.tensor([[1000.0, 0.0], [1000.0, 0.0], [1000.0, 0.0], [1000.0, 0.0]])
    found = calibration.reliability(logits, torch.tensor([0, 0, 0, 1]))
    assert found.count == [0] * 14 + [4]
    assert found.ece == pytest.approx(0.25)
    assert calibration.entropy(logits).tolist() == [0] * 4
    assert calibration.nll(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(250)


def test_a_uniform_guess():
    logits = torch.zeros(3, 8)
    assert calibration.entropy(logits).tolist() == pytest.approx([log(8)] * 3)
    assert calibration.confidence(logits).tolist() == pytest.approx([1 / 8] * 3)


@pytest.mark.parametrize("temperature", [0, -1, inf, nan])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match=f"temperature of {temperature}.*above 0"):
        calibration.probabilities(LOGITS, temperature)


class Told(nn.Module):
    """A network that says of images what it was given to say."""

    num_classes = 5

    def __init__(self):
        super().__init__()
        self.none = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return images[:, :5, 0, 0] + self.none


def test_training_scores_are_the_same():
    images = LOGITS[:, :, None, None]
    parts = [slice(0, 150), slice(150, 200)]
    batches = [Batch(images[part], TARGETS[part], torch.arange(200)[part]) for part in parts]
    scores = evaluate.classification(Told(), batches)
    assert scores["brier"] == pytest.approx(calibration.brier(LOGITS, TARGETS), rel=1e-5)
    assert scores["nll"] == pytest.approx(calibration.nll(LOGITS, TARGETS), rel=1e-5)
    ece = calibration.reliability(LOGITS, TARGETS).ece
    assert scores["ece"] == pytest.approx(ece, rel=1e-4)
