import pytest
import torch

from cohobate.data.augment import Augment
from cohobate.data.loader import TrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split
from cohobate.data.windows import AHEAD, Windows


def images(count, channels=3, size=32):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 8), (3, 5)])
def test_windows_are_what_crop_and_flip_give(views, channels, size):
    given, augment = images(20, channels, size), Augment(["crop", "flip"], seed=3)
    rows = torch.randint(0, 20, (AHEAD + 2, 4), generator=torch.Generator().manual_seed(1))
    batches = list(Windows(given, augment, views).batches(5, rows))
    assert torch.equal(torch.stack([ids for ids, _ in batches]), rows)
    for ids, seen in batches:
        assert len(seen) == views
        for view, picture in enumerate(seen):
            assert picture.dtype == torch.uint8
            assert torch.equal(picture, augment(given[ids], 5, ids, view))


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("names", [["crop", "flip"], ["crop", "flip", "resized_crop"]])
def test_a_set_in_memory_is_served_as_it_is_augmented(names, views):
    split = Split(images(50), torch.arange(50) % 3)
    train = TrainLoader(split, Sampler(split.targets, 16), augment=names, size=32, views=views)
    for batch in train.epoch(1):
        seen = batch.images.view(16, views, 3, 32, 32)
        for view in range(views):
            expected = Augment(names, 0)(split.images[batch.ids], 1, batch.ids, view)
            assert torch.equal(seen[:, view], expected.float() / 255)
        assert batch.images.is_contiguous()


def test_the_set_itself_stays_as_it_is():
    given, augment = images(4), Augment(["crop", "flip"], 0)
    ((_, (seen,)),) = Windows(given, augment, 1).batches(0, torch.arange(4)[None])
    seen.zero_()
    assert torch.equal(given, images(4))


@pytest.mark.parametrize(
    ("names", "windowed"),
    [(["crop", "flip"], True), (["flip", "crop"], False), (["crop"], False), ([], False)],
)
def test_only_a_crop_and_then_a_flip_make_windows(names, windowed):
    assert Augment(names, 0).windowed == windowed


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_windows():
    rows, augment = torch.arange(20).view(5, 4), Augment(["crop", "flip"], 0)
    sides = [Windows(images(20).to(device), augment, 2).batches(0, rows) for device in ("cpu", 0)]
    for (_, ours), (ids, theirs) in zip(*sides, strict=True):
        assert ids.is_cuda
        assert torch.equal(torch.stack(ours), torch.stack(theirs).cpu())
