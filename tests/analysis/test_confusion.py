"""Which classes are taken for which: counted in a loop."""

import torch

from cohobate.analysis.confusion import confusion, matrix

TARGETS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
GUESSES = [0, 1, 1, 2, 2, 2, 1, 2]
SURE = [5.0, 1.0, 3.0, 2.0, 4.0, 1.0, 1.0, 1.0]


def logits():
    rows = torch.zeros(8, 4)
    for row, (guess, height) in enumerate(zip(GUESSES, SURE)):
        rows[row, guess] = height
    return rows


def test_the_matrix_counts_each_image_once():
    expected = [[0] * 4 for _ in range(4)]
    for target, guess in zip(TARGETS.tolist(), GUESSES):
        expected[target][guess] += 1
    assert matrix(logits(), TARGETS).tolist() == expected


def test_the_pairs_begin_with_the_most_confused_and_their_surest_images():
    pairs = confusion(logits(), TARGETS).pairs
    assert [(p.true, p.taken, p.count) for p in pairs] == [(1, 2, 2), (0, 1, 1), (2, 1, 1)]
    assert pairs[0].rows == [4, 3]  # of heights 4 and 2
    assert [p.share for p in pairs] == [2 / 3, 1 / 2, 1 / 3]
    assert confusion(logits(), TARGETS, pairs=1, images=1).pairs[0].rows == [4]


def test_a_network_without_mistakes_has_no_pairs():
    perfect = torch.eye(3)[torch.tensor([0, 1, 2, 1])]
    assert confusion(perfect, torch.tensor([0, 1, 2, 1])).pairs == []
