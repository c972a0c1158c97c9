import pytest
import torch

from cohobate.data.splits import Split, apportion, halves, portion, take_per_class

TARGETS = torch.tensor([0] * 50 + [1] * 30 + [2] * 5 + [3])[
    torch.randperm(86, generator=torch.Generator().manual_seed(0))
]
SPLIT = Split([str(row) for row in range(86)], TARGETS)  # any list will do


def counts(split):
    return torch.bincount(split.targets, minlength=4).tolist()


def test_apportion_gives_largest_remainders():
    assert apportion(torch.tensor([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]
    assert apportion(torch.tensor([5, 3, 0]), 4).tolist() == [
        3,
        1,
        0,
    ]  # 2.5, 1.5: ties to the first
    shares = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    parts = apportion(shares, 12_345)
    assert parts.sum() == 12_345
    assert (parts - shares * 12_345 / shares.sum()).abs().max() < 1


def test_halves_are_disjoint_whole_and_stratified():
    kept, drawn = halves(SPLIT, 0.2, seed=0)
    assert sorted(kept.images + drawn.images, key=int) == SPLIT.images
    assert counts(drawn) == [10, 6, 1, 0]
    assert counts(kept) == [40, 24, 4, 1]
    for half in (kept, drawn):
        assert torch.equal(half.targets, TARGETS[[int(name) for name in half.images]])


def test_halves_are_the_same_for_a_seed_and_differ_between_seeds():
    assert halves(SPLIT, 0.2, 0)[1].images == halves(SPLIT, 0.2, 0)[1].images
    assert halves(SPLIT, 0.2, 0)[1].images != halves(SPLIT, 0.2, 1)[1].images


def test_every_class_with_two_images_is_in_both_halves():
    for share in (0.01, 0.99):
        for half in halves(SPLIT, share, 0):
            assert all(counts(half)[:3])


def test_nothing_to_halve():
    with pytest.raises(ValueError, match="each class has one image only"):
        halves(SPLIT.take(torch.tensor([0])), 0.5, 0)


def test_portion_is_stratified_and_nested():
    half, tenth = portion(SPLIT, 0.5, 0), portion(SPLIT, 0.1, 0)
    assert counts(half)[:2] == [25, 15]
    assert counts(tenth) == [5, 3, 1, 1]  # 9 of 86, and one of a class that would get none
    assert set(tenth.images) < set(half.images)


def test_take_per_class():
    split = SPLIT.take((TARGETS < 3).nonzero().flatten())
    classes = ("ant", "bee", "cat")
    assert counts(take_per_class(split, 5, classes, 0))[:3] == [5, 5, 5]
    with pytest.raises(ValueError, match=r"data\.per_class=6 .* 'cat' has: choose at most 5"):
        take_per_class(split, 6, classes, 0)


def test_take_keeps_images_and_targets_together():
    images = torch.arange(86, dtype=torch.uint8).view(-1, 1, 1, 1)
    taken = Split(images, TARGETS).take(torch.tensor([3, 1]))
    assert taken.images.flatten().tolist() == [3, 1]
    assert torch.equal(taken.targets, TARGETS[[3, 1]])
    assert len(taken) == 2


def test_a_copy_in_another_quality_has_another_fingerprint(tmp_path):
    marks = set()
    for quality in (b"high quality", b"low"):
        folder = tmp_path / quality.decode() / "cats"
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(quality)
        split = Split([folder / "1.jpg"], torch.zeros(1, dtype=torch.int64))
        marks |= {split.fingerprint(), split.take(torch.tensor([0])).fingerprint()}
    assert len(marks) == 2
