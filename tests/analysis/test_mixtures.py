"""Mixtures drawn as a method draws them: mixed again by hand, and put to its heads."""

import pytest
import torch

from cohobate.analysis import mixtures
from cohobate.analysis.pictures import opened
from cohobate.core import Batch
from cohobate.methods import METHODS
from cohobate.models import Classifier
from cohobate.modules.mixing import CutMix, ManifoldMixing, Mixup


def method(name, **options):
    return METHODS[name](Classifier("cifar_resnet8", 5, size=32), **options).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_pairs_are_of_different_classes_and_no_image_comes_twice():
    targets = torch.tensor([0] * 300 + [1] * 60 + [2] * 40)
    rows = mixtures.pairs(targets, 0)
    assert len(rows) == 2 * mixtures.DRAWS
    assert len(set(rows.tolist())) == len(rows)
    assert bool((targets[rows[::2]] != targets[rows[1::2]]).all())
    assert torch.equal(rows, mixtures.pairs(targets, 0))
    assert len(mixtures.pairs(torch.zeros(9), 0)) == 0
    assert len(mixtures.pairs(torch.tensor([0, 0, 0, 1]), 0)) == 2


@torch.no_grad()
def test_a_mixture_and_what_heads_say_of_it(images):
    mixskd = method("mixskd")
    found = mixtures.mixtures(mixskd, images, [0, 1] * 8, list(range(100, 116)), 0)
    assert len(found) == mixtures.PAIRS
    uneven = [abs(mixed.weight - 0.5) for mixed in found]
    assert uneven == sorted(uneven)
    for mixed in found:
        first, second = (images[row - 100] for row in mixed.rows)
        blend = mixed.weight * first + (1 - mixed.weight) * second
        assert mixed.classes == (0, 1)
        said = {opinion.head: opinion for opinion in mixed.opinions}
        assert list(said) == ["exit 1", "exit 2", "network", "self-teacher"]
        shares = mixskd.model(blend[None]).softmax(1)[0]
        order = shares.argsort(descending=True)[:3].tolist()
        assert said["network"].classes == order
        assert said["network"].shares == pytest.approx(shares[order].tolist(), rel=1e-4)
        assert [opened(uri).size for uri in mixed.pictures] == [(96, 96)] * 3


def test_a_method_that_mixes_few_images_is_asked_for_mixed_ones(images):
    some = method("supervised")
    few = (
        Mixup(alpha=0.4, share=0.1),
        CutMix(share=0.0, variant="released"),
        ManifoldMixing(share=0.1),
    )
    for mixing in few:
        some.mix = mixing
        drawn = mixtures.drawn(some, images, 0)
        assert all(float(mixture.weight[0]) < 1 for _, mixture in drawn)
        assert all(mixture.layer is None or not mixture.layer.any() for _, mixture in drawn)
        assert all(mixture.partner[0] == 1 for _, mixture in drawn)


def test_cutmix_shows_the_true_share_of_its_area(images):
    cutmix = method("cutmix")
    place, mixture = mixtures.drawn(cutmix, images, 1)[0]
    pair = images[place : place + 2]
    blend = Batch(pair, torch.tensor([0, 1]), torch.arange(2), mixture).inputs[0]
    kept = (blend == pair[0]).all(0).double().mean()
    assert float(kept) == pytest.approx(float(mixture.weight[0]))
