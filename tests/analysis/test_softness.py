"""Entropies and divergence of a teacher and its student, in loops."""

from math import exp, log

import pytest
import torch

from cohobate.analysis.softness import softness


def probabilities(row, temperature):
    powers = [exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def test_softness_is_its_formulas():
    student = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 3.0]])
    teacher = torch.tensor([[3.0, 1.0, 0.0], [4.0, 0.0, 1.0]])
    found = softness(student, teacher, torch.tensor([0, 2]), [1, 4])
    assert (found.images, found.student_top1, found.teacher_top1) == (2, 1, 0.5)
    assert found.agreement == 0.5
    for place, temperature in enumerate([1, 4]):
        entropies, divergence = [0.0, 0.0], 0.0
        for s, t in zip(student.tolist(), teacher.tolist()):
            q, p = probabilities(s, temperature), probabilities(t, temperature)
            entropies[0] -= sum(x * log(x) for x in q) / 2
            entropies[1] -= sum(x * log(x) for x in p) / 2
            divergence += sum(a * log(a / b) for a, b in zip(p, q)) / 2
        assert found.student[place] == pytest.approx(entropies[0], rel=1e-5)
        assert found.teacher[place] == pytest.approx(entropies[1], rel=1e-5)
        assert found.kl[place] == pytest.approx(divergence, rel=1e-4)
