"""Few-shot scores against classifiers written anew, and against what can be known."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cohobate.analysis.few_shot import CLASSIFIERS, few_shot
from cohobate.data.splits import rank

NAMES = ("a", "b", "c")


@pytest.fixture
def sets():
    """Features of three classes that overlap, around three directions."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for count in (60, 90):
        targets = torch.arange(count) % 3
        features = 2 * torch.eye(3, 8)[targets] + torch.randn(count, 8, generator=generator)
        found.append((features, targets))
    return found


def directions(features):
    values = features.double().numpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("shots", [1, 4])
def test_neighbours_and_means_are_the_nearest(sets, shots):
    train, test = sets
    found = few_shot(train, test, shots, 3, NAMES)
    assert found.shots == shots
    x, y, z, truth = directions(train[0]), train[1].numpy(), directions(test[0]), test[1].numpy()
    for draw in range(3):
        rows = np.flatnonzero((rank(train[1], draw) < shots).numpy())
        assert np.bincount(y[rows]).tolist() == [shots] * 3
        one, mean = [], []
        for point in z:
            distances = [np.sum((point - x[row]) ** 2) for row in rows]
            one.append(y[rows[int(np.argmin(distances))]])
            centres = [x[[r for r in rows if y[r] == k]].mean(0) for k in range(3)]
            mean.append(int(np.argmin([np.sum((point - centre) ** 2) for centre in centres])))
        assert found.top1["nearest image"][draw] == pytest.approx(np.mean(one == truth))
        assert found.top1["nearest mean"][draw] == pytest.approx(np.mean(mean == truth))


def test_the_linear_probe_is_the_least_loss(sets):
    train, test = sets
    found = few_shot(train, test, 4, 1, NAMES)
    x, y, z = directions(train[0]), train[1].numpy(), directions(test[0])
    rows = np.flatnonzero((rank(train[1], 0) < 4).numpy())

    def loss(flat):
        weight, bias = flat[:24].reshape(3, 8), flat[24:]
        logits = x[rows] @ weight.T + bias
        own = logits[np.arange(len(rows)), y[rows]]
        return np.sum(np.log(np.exp(logits).sum(1)) - own) + 0.5 * np.sum(weight**2)

    best = minimize(loss, np.zeros(27)).x
    said = (z @ best[:24].reshape(3, 8).T + best[24:]).argmax(1)
    assert found.top1["linear"][0] == pytest.approx(np.mean(said == test[1].numpy()), abs=0.012)


def test_mean_and_deviation_are_over_draws(sets):
    found = few_shot(*sets, 1, 4, NAMES)
    for name in CLASSIFIERS:
        assert len(found.top1[name]) == 4
        assert found.mean(name) == pytest.approx(np.mean(found.top1[name]))
        assert found.deviation(name) == pytest.approx(np.std(found.top1[name], ddof=1))
    assert found.deviation("nearest image") > 0
    assert few_shot(*sets, 1, 4, NAMES) == found
    assert few_shot(*sets, 1, 1, NAMES).deviation("linear") is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dead", [1, 8])
def test_features_that_never_change_are_learnt_from_all_the_same(sets, dead):
    """Of a network with dead channels, or with nothing but these: then it says one class of all."""
    changed = [(features.clone(), targets) for features, targets in sets]
    for features, _ in changed:
        features[:, :dead] = 1
    for name, top1 in few_shot(*changed, 4, 2, NAMES).top1.items():
        assert dead == 1 or top1 == [pytest.approx(1 / 3)] * 2, name


def test_more_shots_than_there_are_name_the_class(sets):
    (features, targets), test = sets
    kept = (targets != 1) | (torch.arange(60) < 12)
    with pytest.raises(ValueError, match=r"--shots 5 is more than class 'b' has: .* at most 4"):
        few_shot((features[kept], targets[kept]), test, 5, 1, NAMES)
