import itertools
from functools import partial

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image

from cohobate.core import Batch
from cohobate.data.augment import Augment
from cohobate.data.images import BadImage, parts
from cohobate.data.loader import EvalLoader, TrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split

TARGETS = torch.arange(50) % 3


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The same 50 images, in memory and as lossless files of that size."""
    root = tmp_path_factory.mktemp("pictures")
    images = [picture(row) for row in range(50)]
    paths = [root / f"{row}.png" for row in range(50)]
    for image, path in zip(images, paths):
        image.save(path)
    tensor = torch.stack([torch.from_numpy(np.array(i)).permute(2, 0, 1) for i in images])
    return Split(tensor, TARGETS), Split(paths, TARGETS)


def loader(
    split, augment=("crop", "flip"), size=32, views=1, workers=0, seed=0, distort=(), **sampling
):
    sampler = Sampler(split.targets, 16, seed=seed, **sampling)
    options = {"size": size, "views": views, "workers": workers, "seed": seed, "distort": distort}
    return TrainLoader(split, sampler, augment=list(augment), **options)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("kind", [0, 1])
def test_batches_are_what_the_type_says(pictures, views, kind):
    split = pictures[kind]
    train = loader(split, views=views, companions=1)
    batches = list(train.epoch(0))
    assert len(batches) == len(train) == 4
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.images.shape == ((32, 3, 32, 32) if views == 1 else (32, 2, 3, 32, 32))
        assert batch.images.dtype == torch.float32
        assert 0 <= batch.images.min() < batch.images.max() <= 1
        assert batch.ids.dtype == batch.targets.dtype == torch.int64
        assert torch.equal(batch.targets, TARGETS[batch.ids])
    ids = torch.stack([batch.ids for batch in batches])
    assert torch.equal(ids, train.sampler.rows(0))


def test_without_augmentation_the_images_are_themselves(pictures):
    for split in pictures:
        for batch in loader(split, augment=()).epoch(0):
            assert torch.equal(batch.images, pictures[0].images[batch.ids].float() / 255)


def test_whole_range_is_reached():
    white = Split(torch.full((16, 3, 8, 8), 255, dtype=torch.uint8), torch.zeros(16).long())
    (batch,) = TrainLoader(white, Sampler(white.targets, 16), augment=[], size=8).epoch(0)
    assert batch.images.unique().tolist() == [1.0]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("views", [1, 2])
def test_memory_and_files_give_the_same_crops_and_flips(pictures, workers, views):
    pair = [loader(split, views=views, workers=workers) for split in pictures]
    for epoch in (0, 1):
        for first, second in zip(*(train.epoch(epoch) for train in pair), strict=True):
            assert torch.equal(first.ids, second.ids)
            assert torch.equal(first.images, second.images)


@pytest.mark.parametrize("views", [1, 2])
def test_memory_and_files_give_the_same_parts(pictures, views):
    """Both choose the same boxes; PIL rounds once a direction, torch once."""
    pair = [loader(split, ("resized_crop", "flip"), views=views) for split in pictures]
    for first, second in zip(*(train.epoch(0) for train in pair), strict=True):
        assert (first.images - second.images).abs().max() <= 2.01 / 255


def test_large_files_are_read_by_drawn_parts(tmp_path):
    """The part that is read is the part that was drawn, of the file's own size and shape."""
    paths = []
    for row in range(16):  # across goes into red, down into green
        image = np.zeros((240, 400, 3), np.uint8)
        image[..., 0] = np.linspace(0, 255, 400)
        image[..., 1] = np.linspace(0, 255, 240)[:, None]
        paths.append(tmp_path / f"{row}.jpg")
        Image.fromarray(image).save(paths[-1], quality=98)
    split = Split(paths, torch.zeros(16, dtype=torch.int64))
    train = loader(split, ["resized_crop"], size=32)
    (batch,) = train.epoch(0)
    draws = train.augment.draw(0, batch.ids, 0)[0]
    boxes = train.augment.frame.boxes(draws, 400, 240)
    red, green = batch.images[:, 0].mean((1, 2)), batch.images[:, 1].mean((1, 2))
    torch.testing.assert_close(red, (boxes[:, 0] + boxes[:, 2] / 2) / 400, rtol=0, atol=0.01)
    torch.testing.assert_close(green, (boxes[:, 1] + boxes[:, 3] / 2) / 240, rtol=0, atol=0.01)


@pytest.mark.parametrize("views", [1, 2])
def test_files_of_different_sizes_are_read_as_each_alone(tmp_path, views):
    sizes = [(40, 30), (30, 40), (300, 20), (64, 64)] * 4
    paths = [tmp_path / f"{row}.png" for row in range(16)]
    for row, path in enumerate(paths):
        picture(row, *sizes[row]).save(path)
    train = loader(Split(paths, torch.zeros(16).long()), ["resized_crop"], views=views)
    (batch,) = train.epoch(0)
    for row, seen in zip(batch.ids.tolist(), batch.images.view(16, views, 3, 32, 32)):
        ids, frame = torch.tensor([row]), train.augment.frame
        for view in range(views):
            draws = train.augment.draw(0, ids, view)[0]
            alone = parts(paths[row], partial(frame.boxes, draws), 32)[0]
            assert torch.equal(seen[view], alone.float() / 255)


@pytest.mark.parametrize("augment", [("crop", "flip"), ("resized_crop", "flip")])
@pytest.mark.parametrize("kind", [0, 1])
def test_epochs_can_be_entered_in_the_middle_and_in_any_order(pictures, augment, kind):
    whole = list(loader(pictures[kind], augment).epoch(2))
    train = loader(pictures[kind], augment, workers=kind)
    next(iter(train.epoch(0)))  # an epoch that was left
    for first, second in zip(whole[1:], train.epoch(2, start=1), strict=True):
        assert torch.equal(first.ids, second.ids)
        assert torch.equal(first.images, second.images)


def test_two_processes_see_what_one_sees(pictures):
    (whole, first, second) = (
        next(iter(loader(pictures[0], **options).epoch(1)))
        for options in ({}, {"rank": 0, "world": 2}, {"rank": 1, "world": 2})
    )
    assert torch.equal(torch.cat([first.images, second.images]), whole.images)


def test_views_and_epochs_differ(pictures):
    train = loader(pictures[0], views=2)
    first, second = (torch.cat([b.images for b in train.epoch(e)]) for e in (0, 1))
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("kind", "workers"), [(0, 0), (1, 0), (1, 1)])
def test_the_global_generators_are_left_alone(pictures, kind, workers):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(loader(pictures[kind], ("resized_crop", "flip"), workers=workers).epoch(0))
    list(EvalLoader(pictures[kind], size=32, batch_size=16, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_turns_bad_is_named(tmp_path, truncate, workers):
    paths = [tmp_path / f"{row}.png" for row in range(16)]
    for row, path in enumerate(paths):
        picture(row).save(path)
    truncate(paths[7])
    split = Split(paths, torch.zeros(16, dtype=torch.int64))
    for batches in (
        loader(split, workers=workers).epoch(0),
        EvalLoader(split, size=32, batch_size=4, workers=workers),
    ):
        with pytest.raises(BadImage) as caught:
            list(batches)
        sentence = str(caught.value)
        assert sentence.startswith(f"image {paths[7]} cannot be read: ")
        assert sentence.endswith("data.skip_bad=true goes on without such files")
        assert "Traceback" not in sentence


def test_evaluation_is_in_order_and_whole(pictures):
    batches = list(EvalLoader(pictures[0], size=32, batch_size=16))
    assert [len(batch.ids) for batch in batches] == [16, 16, 16, 2]
    assert torch.cat([batch.ids for batch in batches]).tolist() == list(range(50))
    images = torch.cat([batch.images for batch in batches])
    assert torch.equal(images, pictures[0].images.float() / 255)
    assert torch.equal(torch.cat([batch.targets for batch in batches]), TARGETS)


def test_evaluation_is_shared_among_processes(pictures):
    for split in pictures:
        halves = [
            EvalLoader(split, size=32, batch_size=10, rank=r, world=2, workers=0) for r in (0, 1)
        ]
        ids = [torch.cat([batch.ids for batch in half]).tolist() for half in halves]
        assert [len(half) for half in halves] == [3, 3]
        assert ids == [list(range(0, 50, 2)), list(range(1, 50, 2))]


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_of_files_looks_at_the_middle(tmp_path, workers):
    """Short side to 256, central 224, is the central 7/8 of the short side."""
    image = picture(0, 400, 320)
    image.save(tmp_path / "x.png")
    split = Split([tmp_path / "x.png"], torch.zeros(1, dtype=torch.int64))
    evaluated = EvalLoader(split, size=224, batch_size=8, workers=workers)
    for _ in range(2):
        (batch,) = evaluated
        usual = image.resize((320, 256), Image.Resampling.BILINEAR).crop((48, 16, 272, 240))
        expected = torch.from_numpy(np.array(usual)).permute(2, 0, 1) / 255
        assert (batch.images[0] - expected).abs().max() <= 3 / 255


@pytest.mark.parametrize("augment", [("crop", "flip"), ("resized_crop",), ()])
@pytest.mark.parametrize("kind", [0, 1])
def test_other_views_can_be_made_of_the_first(pictures, augment, kind):
    one = loader(pictures[kind], augment, workers=kind)
    three = loader(pictures[kind], augment, workers=kind, views=3, distort=["augmix"])
    for first, all_three in zip(one.epoch(2), three.epoch(2), strict=True):
        assert torch.equal(all_three.images[:, 0], first.images)
        seen = first.images.mul(255).round().byte()
        for view in (1, 2):
            expected = Augment(["augmix"], 0)(seen, 2, first.ids, view).float() / 255
            assert torch.equal(all_three.images[:, view], expected)
        assert not torch.equal(all_three.images[:, 1], all_three.images[:, 2])


def test_unknown_augmentation(pictures):
    with pytest.raises(ValueError, match="did you mean 'flip'"):
        loader(pictures[0], ["flipp"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("kind", "augment"), itertools.product((0, 1), ("crop", "resized_crop")))
def test_a_gpu_gives_the_same_pictures(pictures, kind, augment):
    sampler = Sampler(TARGETS, 16)
    options = {"augment": [augment, "flip"], "size": 32, "workers": 0}
    on_cpu = TrainLoader(pictures[kind], sampler, **options)
    on_gpu = TrainLoader(pictures[kind], sampler, device="cuda", **options)
    for first, second in zip(on_cpu.epoch(0), on_gpu.epoch(0), strict=True):
        assert second.images.is_cuda
        assert (first.images - second.images.cpu()).abs().max() <= 1.01 / 255
