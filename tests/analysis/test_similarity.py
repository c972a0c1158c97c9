"""Centred kernel alignment, against the definition of HSIC as a mean over quadruples."""

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cohobate.analysis.similarity import gram, hsic, similarities
from cohobate.core import Batch


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadruples(one, other):
    """Unbiased HSIC: the mean of K_ij (L_ij + L_qr - 2 L_iq) over all different i, j, q, r."""
    terms = [
        one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
        for i, j, q, r in permutations(range(len(one)), 4)
    ]
    return sum(terms) / len(terms)


def test_hsic_is_its_definition_and_needs_no_centring():
    x, y = features(6, 3), features(6, 5, seed=1) + 7
    one, other = x.numpy() @ x.numpy().T, y.numpy() @ y.numpy().T
    assert float(hsic(gram(x), gram(y))) == pytest.approx(quadruples(one, other))
    assert float(hsic(torch.from_numpy(one), torch.from_numpy(other))) == pytest.approx(
        quadruples(one, other)
    )


def trace(*weights):
    """A network whose stages are linear maps of its images' channels."""
    return lambda images: SimpleNamespace(
        stages=[torch.einsum("oc,bchw->bohw", weight, images) for weight in weights]
    )


def batches(count=5, size=8):
    images = [features(size, 3, 2, 2, seed=10 + k) for k in range(count)]
    return [Batch(each, torch.zeros(size).long(), torch.arange(size)) for each in images]


def test_cka_does_not_see_rotations_and_scales_and_sums_over_batches():
    turn = torch.linalg.qr(features(3, 3, seed=3))[0]
    other = features(4, 3, seed=4)
    networks = {"a": trace(torch.eye(3).double(), other), "b": trace(5 * turn)}
    found = similarities(networks, [("a", "b")], batches())[0]  # pyright: ignore[reportArgumentType]
    assert found.values[0] == [pytest.approx(1)]
    cross = one = two = 0.0
    for batch in batches():
        first = np.einsum("oc,bchw->bohw", other.numpy(), batch.images.numpy()).reshape(8, -1)
        second = batch.images.numpy().reshape(8, -1)
        k, m = first @ first.T, second @ second.T
        cross, one, two = cross + quadruples(k, m), one + quadruples(k, k), two + quadruples(m, m)
    assert found.values[1] == [pytest.approx(cross / np.sqrt(one * two))]


def test_small_batches_are_left_out_and_a_constant_has_no_similarity():
    small = [*batches(2), *batches(1, size=3)]
    networks = {"a": trace(torch.eye(3).double()), "b": trace(torch.zeros(2, 3).double())}
    found = similarities(networks, [("a", "a"), ("a", "b")], small)  # pyright: ignore[reportArgumentType]
    assert found[0].values == [[pytest.approx(1)]]
    assert found[1].values == [[None]]
    assert similarities(networks, [("a", "b")], small[2:]) == []  # pyright: ignore[reportArgumentType]
