"""The scores of a classifier against their formulas, with numpy and with loops."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from cohobate.analysis import calibration, scoring
from cohobate.analysis.fidelity import fidelity

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(300, 7, generator=GENERATOR)
TARGETS = torch.where(
    torch.rand(300, generator=GENERATOR) < 0.5,
    LOGITS.argmax(1),
    torch.randint(6, (300,), generator=GENERATOR),
)
TARGETS[TARGETS == 6] = 0  # of class 6 there is no image
NAMES = tuple("abcdefg")


def softmax(logits):
    powers = np.exp(logits.double().numpy() - logits.double().numpy().max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


P, Y = softmax(LOGITS), TARGETS.numpy()
SAID, HIGHEST = P.argmax(1), P.max(1)


def test_accuracies_are_what_scikit_learn_says():
    found = scoring.scores(LOGITS, TARGETS)
    assert found["top1"] == pytest.approx(metrics.accuracy_score(Y, SAID))
    assert found["top5"] == pytest.approx(metrics.top_k_accuracy_score(Y, P, k=5, labels=range(7)))
    assert found["balanced"] == pytest.approx(metrics.balanced_accuracy_score(Y, SAID))
    assert found["nll"] == pytest.approx(metrics.log_loss(Y, P, labels=range(7)))
    assert found["brier"] == pytest.approx(((P - np.eye(7)[Y]) ** 2).sum(1).mean())
    assert "top5" not in scoring.scores(LOGITS[:, :5], TARGETS.clamp(max=4))


def gaps(confidence, hits, bins):
    """Sum over bins (lists of rows) of their share times |accuracy - confidence|."""
    count = sum(map(len, bins))
    return sum(
        len(rows) / count * abs(np.mean(hits[rows]) - np.mean(confidence[rows]))
        for rows in bins
        if len(rows)
    )


def of_equal_width(values):
    return [np.flatnonzero((values >= m / 15) & (values < (m + 1) / 15)) for m in range(15)]


def test_calibration_errors_are_their_formulas():
    found = scoring.scores(LOGITS, TARGETS)
    hits = (SAID == Y).astype(float)
    assert found["ece"] == pytest.approx(gaps(HIGHEST, hits, of_equal_width(HIGHEST)), abs=1e-6)
    order = np.argsort(HIGHEST)
    bins = np.array_split(order, 15)
    assert {len(rows) for rows in bins} == {20}
    assert found["ece_adaptive"] == pytest.approx(gaps(HIGHEST, hits, bins))
    each = [gaps(P[:, k], (k == Y).astype(float), of_equal_width(P[:, k])) for k in range(7)]
    assert found["ece_classwise"] == pytest.approx(np.mean(each))


def test_bins_of_equal_mass_differ_by_an_image_at_most():
    assert calibration.adaptive_ece(LOGITS[:17], TARGETS[:17]) == pytest.approx(
        gaps(
            HIGHEST[:17],
            (SAID == Y)[:17].astype(float),
            np.array_split(np.argsort(HIGHEST[:17]), 15),
        )
    )


def test_aurc_is_the_mean_risk_over_coverages():
    order, wrong = np.argsort(-HIGHEST), SAID != Y
    risks = [np.mean(wrong[order[:n]]) for n in range(1, 301)]
    assert scoring.scores(LOGITS, TARGETS)["aurc"] == pytest.approx(np.mean(risks))


def test_aurc_of_equal_confidence_hangs_on_no_order():
    logits = torch.zeros(40, 4)  # all say class 0, and are as sure
    logits[:, 0] = 1
    targets = torch.tensor([0] * 30 + [1] * 10)
    assert calibration.aurc(logits, targets) == pytest.approx(0.25)
    assert calibration.aurc(logits, targets.flip(0)) == pytest.approx(0.25)
    assert calibration.aurc(logits, targets * 0) == 0


def test_aurc_tells_very_sure_images_apart():
    """In float32 and as probabilities all of them are 1."""
    logits = torch.tensor([[30.0, 0.0], [25.0, 0.0], [20.0, 0.0], [18.0, 0.0]])
    assert calibration.aurc(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25 / 4)
    assert calibration.aurc(logits, torch.tensor([1, 0, 0, 0])) == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    )


def test_the_scores_of_classes_and_the_confusion():
    counts = scoring.confusion(LOGITS, TARGETS)
    assert counts.tolist() == metrics.confusion_matrix(Y, SAID, labels=range(7)).tolist()
    table = scoring.by_class(LOGITS, TARGETS, NAMES)
    assert [each.name for each in table] == list(NAMES)
    for k, each in enumerate(table[:6]):
        assert each.images == (k == Y).sum()
        assert each.accuracy == pytest.approx(np.mean(SAID[k == Y] == k))
        assert each.precision == pytest.approx(np.mean(Y[k == SAID] == k))
        assert each.f1 == pytest.approx(metrics.f1_score(k == Y, k == SAID))
    assert (table[6].images, table[6].accuracy, table[6].f1) == (0, None, 0)
    assert table[6].precision == 0
    accuracies = {each.name: each.accuracy for each in table[:6]}
    found = scoring.weakest(table, 2)
    assert [each.name for each in found] == sorted(accuracies, key=accuracies.get)[:2]


def test_a_class_that_nothing_was_taken_for_has_no_precision():
    logits = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]])
    first, second, third = scoring.by_class(logits, torch.tensor([0, 1]), ("a", "b", "c"))
    assert (first.accuracy, first.precision) == (1, 0.5)
    assert (second.accuracy, second.precision, second.f1) == (0, None, 0)
    assert (third.accuracy, third.precision) == (None, None)


def test_the_most_frequent_mistakes():
    counts = [[9, 2, 0], [5, 9, 1], [0, 0, 9]]
    assert scoring.most_confused(counts) == [(1, 0, 5), (0, 1, 2), (1, 2, 1)]
    assert scoring.most_confused(counts, 1) == [(1, 0, 5)]


def test_fidelity_is_agreement_and_divergence():
    taught = LOGITS + torch.randn(300, 7, generator=GENERATOR)
    found = fidelity("big", taught, LOGITS, TARGETS)
    p = softmax(taught)
    divergence = [
        sum(a * math.log(a / b) for a, b in zip(left, right)) for left, right in zip(p, P)
    ]
    assert found.kl == pytest.approx(np.mean(divergence))
    assert found.agreement == pytest.approx(np.mean(p.argmax(1) == SAID))
    assert found.teacher_top1 == pytest.approx(np.mean(p.argmax(1) == Y))
    same = fidelity("big", LOGITS, LOGITS, TARGETS)
    assert (same.kl, same.agreement) == (0, 1)


def test_divergence_is_finite_where_probabilities_vanish():
    sure, other = torch.tensor([[2000.0, 0.0]]), torch.tensor([[0.0, 2000.0]])
    found = fidelity("big", sure, other, torch.tensor([0]))
    assert found.kl == pytest.approx(2000)
