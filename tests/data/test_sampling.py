import time

import pytest
import torch

from cohobate.data.sampling import Sampler

TARGETS = torch.randint(0, 5, (103,), generator=torch.Generator().manual_seed(0))


def test_every_image_at_least_once_and_every_batch_full():
    sampler = Sampler(TARGETS, 16)
    rows = sampler.rows(0)
    assert rows.shape == (len(sampler), 16) == (7, 16)
    assert rows.unique().tolist() == list(range(103))
    assert all(len(batch.unique()) == 16 for batch in rows)


def test_pure_function_of_seed_and_epoch():
    sampler = Sampler(TARGETS, 16, companions=2)
    third = sampler.rows(3)
    sampler.rows(0)
    assert torch.equal(sampler.rows(3), third)
    assert torch.equal(Sampler(TARGETS, 16, companions=2).rows(3), third)
    assert not torch.equal(sampler.rows(4), third)
    assert not torch.equal(Sampler(TARGETS, 16, companions=2, seed=1).rows(3), third)


@pytest.mark.parametrize("class_weights", [None, "balanced"])
def test_ranks_share_out_the_batch_of_one_process(class_weights):
    options = {"companions": 2, "class_weights": class_weights}
    whole = Sampler(TARGETS, 16, **options).rows(5).view(7, 3, 16)
    halves = [Sampler(TARGETS, 16, rank=r, world=2, **options).rows(5) for r in range(2)]
    joined = torch.cat([half.view(7, 3, 8) for half in halves], 2)
    assert torch.equal(joined, whole)


@pytest.mark.parametrize("class_weights", [None, "balanced"])
@pytest.mark.parametrize("rank, world", [(0, 1), (0, 2), (1, 2)])
def test_the_first_half_of_a_batch_that_repeats_is_the_second_of_the_one_before(
    rank, world, class_weights
):
    sampler = Sampler(
        TARGETS, 16, repeats=True, rank=rank, world=world, class_weights=class_weights
    )
    batches = torch.cat([sampler.rows(epoch) for epoch in range(3)])
    assert len(batches) == 3 * len(sampler) == 3 * 13  # 13 × 8 new ones
    again, new = batches.chunk(2, 1)
    assert again.shape == new.shape == (39, 8 // world)
    assert torch.equal(again[1:], new[:-1])
    assert torch.equal(sampler.rows(2), batches[26:])  # whatever was asked before


def test_new_halves_are_what_batches_of_their_size_are():
    halves = Sampler(TARGETS, 16, repeats=True).rows(4)[:, 8:]
    assert torch.equal(halves, Sampler(TARGETS, 8).rows(4))


def test_ranks_share_out_halves_that_repeat_and_their_companions():
    options = {"companions": 1, "repeats": True}
    whole = Sampler(TARGETS, 16, **options).rows(5).view(13, 4, 8)
    halves = [Sampler(TARGETS, 16, rank=r, world=2, **options).rows(5) for r in range(2)]
    assert torch.equal(torch.cat([half.view(13, 4, 4) for half in halves], 2), whole)
    anchors, companions = whole.view(13, 2, 16).unbind(1)
    assert torch.equal(TARGETS[companions], TARGETS[anchors])
    assert (companions != anchors).all()


def test_companions_are_of_the_class_and_not_the_anchor():
    rows = Sampler(TARGETS, 16, companions=3).rows(0)
    anchors, *companions = rows.split(16, 1)
    for companion in companions:
        assert torch.equal(TARGETS[companion], TARGETS[anchors])
        assert (companion != anchors).all()
    assert not torch.equal(companions[0], companions[1])


def test_companions_are_drawn_equally_from_the_rest_of_the_class():
    targets = torch.zeros(5, dtype=torch.int64)
    sampler = Sampler(targets, 5, companions=1)
    pairs = torch.cat([sampler.rows(epoch).view(2, 5).T for epoch in range(2000)])
    counts = torch.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).view(5, 5)
    assert counts.diagonal().sum() == 0
    others = counts[~torch.eye(5, dtype=torch.bool)].float()
    assert (others - 500).abs().max() < 100


def test_a_class_of_one_is_its_own_companion():
    rows = Sampler(torch.tensor([0, 1, 1]), 3, companions=1).rows(0)
    anchors, companions = rows.split(3, 1)
    assert (companions[anchors == 0] == 0).all()
    assert (companions[anchors != 0] != 0).all()


def test_balanced_draws_every_class_equally():
    targets = torch.tensor([0] * 90 + [1] * 10)
    rows = Sampler(targets, 20, class_weights="balanced").rows(0)
    assert rows.shape == (5, 20)
    assert torch.bincount(targets[rows].flatten()).tolist() == [50, 50]
    times = torch.bincount(rows.flatten(), minlength=100)
    assert times[:90].max() == 1  # images take turns
    assert times[90:].tolist() == [5] * 10


def test_weights_are_relative_to_the_share_of_a_class():
    targets = torch.tensor([0] * 60 + [1] * 40)
    rows = Sampler(targets, 10, class_weights=[1.0, 3.0]).rows(0)
    assert torch.bincount(targets[rows].flatten()).tolist() == [33, 67]  # 60 : 120 of 100
    rows = Sampler(targets, 10, class_weights=[0, 1]).rows(0)
    assert targets[rows].unique().tolist() == [1]


def test_classes_that_training_lacks_are_counted_and_never_drawn():
    targets = torch.tensor([0] * 30 + [2] * 10)  # of the four classes 0 to 3
    for weights, drawn in (("balanced", [20, 0, 20, 0]), ([1, 5, 3, 5], [20, 0, 20, 0])):
        rows = Sampler(targets, 20, classes=4, class_weights=weights).rows(0)
        assert torch.bincount(targets[rows].flatten(), minlength=4).tolist() == drawn
    with pytest.raises(ValueError, match="a list of 4 numbers"):
        Sampler(targets, 20, classes=4, class_weights=[1, 1, 1])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 104}, r"data\.batch_size=104 is larger than the 103 training images"),
        ({"batch_size": 15, "world": 2}, r"data\.batch_size=15 cannot be divided among 2"),
        (
            {"batch_size": 15, "repeats": True},
            r"15 cannot be divided half by half: choose a multiple of 2",
        ),
        ({"batch_size": 18, "repeats": True, "world": 2}, "choose a multiple of 4"),
        (
            {"class_weights": "balance"},
            r'data\.class_weights=\'balance\' .* "balanced" or a list of 5',
        ),
        ({"class_weights": [1.0, 2.0]}, r"data\.class_weights=\[1\.0, 2\.0\] .* a list of 5"),
        ({"class_weights": [1, 1, 1, 1, -1]}, r"data\.class_weights=\[1, 1, 1, 1, -1\] must be"),
        ({"class_weights": [0.0] * 5}, "not all zero"),
        ({"class_weights": [1, 1, 1, 1, float("nan")]}, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sampler(TARGETS, **{"batch_size": 16, **options})


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    Sampler(TARGETS, 16, companions=1, class_weights="balanced").rows(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [{}, {"companions": 1, "class_weights": "balanced"}])
def test_fast_on_imagenet(options):
    sampler = Sampler(torch.arange(1_300_000) % 1000, 256, **options)
    start = time.perf_counter()
    sampler.rows(0)
    assert time.perf_counter() - start < 5  # 0.3 s by itself; loose, as other work may run
