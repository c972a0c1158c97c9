import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomErasing as Erasing
from torchvision.transforms import RandomResizedCrop

from cohobate.data.augment import (
    AUGMENTS,
    Augment,
    Crop,
    Cutout,
    Flip,
    RandomErasing,
    ResizedCrop,
)

IMAGES = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(0))


def draws(step, count=64):
    return torch.rand(count, step.draws, generator=torch.Generator().manual_seed(1))


def test_crop_equals_a_loop():
    step = Crop()
    numbers = draws(step)
    for image, cropped, (v, u) in zip(IMAGES, step(IMAGES, numbers), numbers.tolist()):
        top, left = int(v * 9), int(u * 9)
        expected = F.pad(image, (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
        assert torch.equal(cropped, expected)


def test_crop_reaches_every_offset_equally():
    step = Crop()
    marked = torch.zeros(9000, 1, 8, 8, dtype=torch.uint8)
    marked[:, :, 4, 4] = 1  # the padding at 8 pixels is 1, so the mark moves by -1, 0 or 1
    where = step(marked, draws(step, 9000)).flatten(1).argmax(1)
    places, counts = where.unique(return_counts=True)
    assert places.tolist() == [27, 28, 29, 35, 36, 37, 43, 44, 45]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_flip_equals_a_loop():
    numbers = draws(Flip())
    for image, flipped, u in zip(IMAGES, Flip()(IMAGES, numbers), numbers[:, 0].tolist()):
        assert torch.equal(flipped, image.flip(-1) if u < 0.5 else image)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (64, 64), (300, 900), (1000, 100)])
def test_boxes_are_distributed_as_in_torchvision(width, height):
    step = ResizedCrop()
    ours = step.boxes(draws(step, 4000), width, height)
    blank = torch.empty(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        params = [RandomResizedCrop.get_params(blank, step.area, step.shape) for _ in range(4000)]
    theirs = torch.tensor(params).float()[:, [1, 0, 3, 2]]  # they say top, left, height, width
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-4
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= width).all()
    assert (ours[:, 1] + ours[:, 3] <= height).all()


def test_boxes_where_no_shape_fits_are_central():
    step = ResizedCrop()
    boxes = step.boxes(torch.full((1, step.draws), 0.99), 1000, 10)
    assert boxes.tolist() == [[493, 0, 13, 10]]


def test_boxes_of_many_sizes_are_those_of_each():
    step = ResizedCrop()
    numbers = draws(step)
    sizes = torch.tensor([[500, 375], [64, 64], [37, 5011], [1000, 10]]).repeat(16, 1)
    boxes = step.boxes(numbers, *sizes.split(1, 1))
    for row, (width, height) in enumerate(sizes.tolist()):
        assert torch.equal(boxes[row : row + 1], step.boxes(numbers[row : row + 1], width, height))


def test_resized_crop_equals_resizing_one_by_one():
    step = ResizedCrop()
    numbers = draws(step)
    boxes = step.boxes(numbers, 32, 32).long().tolist()
    for image, resized, (left, top, wide, high) in zip(IMAGES, step(IMAGES, numbers), boxes):
        corners = (left, top, left + wide, top + high)
        whole = Image.fromarray(image.permute(1, 2, 0).numpy())
        part = np.array(whole.resize((32, 32), Image.Resampling.BILINEAR, box=corners))
        apart = resized.permute(1, 2, 0).int() - torch.from_numpy(part)
        assert apart.abs().max() <= 2  # PIL rounds twice, once a direction


def test_whole_image_box_changes_nothing(monkeypatch):
    whole = torch.tensor([[0.0, 0.0, 32.0, 32.0]]).expand(64, -1)
    monkeypatch.setattr(ResizedCrop, "boxes", lambda *_: whole)
    assert torch.equal(ResizedCrop()(IMAGES, torch.empty(64, 22)), IMAGES)


MEAN = (0.2, 0.5, 0.9)
PAINT = torch.tensor([51, 128, 230], dtype=torch.uint8)


def test_cutout_equals_a_loop():
    step = Cutout(MEAN)
    numbers = draws(step)
    for image, cut, (v, u) in zip(IMAGES, step(IMAGES, numbers), numbers.tolist()):
        top, left = int(v * 32) - 4, int(u * 32) - 4
        expected = image.clone()
        expected[:, max(0, top) : top + 8, max(0, left) : left + 8] = PAINT[:, None, None]
        assert torch.equal(cut, expected)


def test_random_erasing_equals_a_loop():
    step = RandomErasing(MEAN)
    numbers = draws(step)
    erased = 0
    for image, cut, row in zip(IMAGES, step(IMAGES, numbers), numbers.tolist()):
        chosen, areas, shapes, (v, u) = row[0], row[1:11], row[11:21], row[21:]
        expected = image.clone()
        for area, shape in zip(areas, shapes):
            pixels, ratio = 1024 * (0.02 + 0.38 * area), 0.3 + (1 / 0.3 - 0.3) * shape
            high, wide = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
            if chosen < 0.5 and high < 32 and wide < 32:
                top, left = int(v * (33 - high)), int(u * (33 - wide))
                expected[:, top : top + high, left : left + wide] = PAINT[:, None, None]
                erased += 1
                break
        assert torch.equal(cut, expected)
    assert 20 < erased < 44


def test_boxes_that_are_erased_are_as_large_as_in_torchvision():
    """Areas alike; it draws shapes evenly in their logarithm, the paper and we in themselves."""
    step = RandomErasing()
    first, end = step.boxes(draws(step, 8000), 100)
    areas = (end - first).prod(1)
    ours = areas[areas > 0]
    assert len(ours) == pytest.approx(4000, abs=200)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        image = torch.empty(3, 100, 100)
        boxes = [Erasing.get_params(image, step.area, (0.99, 1.01), [0]) for _ in range(2000)]
    theirs = torch.tensor([box[2] * box[3] for box in boxes])
    assert (theirs.float().mean() / ours.mean()).item() == pytest.approx(1, abs=0.05)


def test_only_what_paints_is_told_the_mean():
    augment = Augment([*AUGMENTS], 0, MEAN)
    assert {type(step) for step in augment.steps if hasattr(step, "mean")} == {
        Cutout,
        RandomErasing,
    }


@pytest.mark.parametrize("name", AUGMENTS)
def test_no_generator_is_drawn_from(name):
    before = torch.get_rng_state()
    Augment([name], seed=0)(IMAGES, 0, torch.arange(64), 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", AUGMENTS)
def test_views_epochs_seeds_and_ids_all_change_the_picture(name):
    ids = torch.arange(64)
    one = Augment([name], seed=0)
    view = one(IMAGES, 0, ids, 0)
    assert torch.equal(one(IMAGES, 0, ids, 0), view)
    assert not torch.equal(one(IMAGES, 0, ids, 1), view)
    assert not torch.equal(one(IMAGES, 1, ids, 0), view)
    assert not torch.equal(one(IMAGES, 0, ids + 64, 0), view)
    assert not torch.equal(Augment([name], seed=1)(IMAGES, 0, ids, 0), view)


@pytest.mark.parametrize("names", [["resized_crop", "crop", "flip"], *([n] for n in AUGMENTS)])
def test_a_picture_does_not_depend_on_its_batch(names):
    ids = torch.arange(64)
    augment = Augment(names, seed=0)
    whole, order = augment(IMAGES, 3, ids, 0), torch.randperm(64)[:10]
    assert torch.equal(augment(IMAGES[order], 3, ids[order], 0), whole[order])


def test_no_augmentation_is_no_change():
    assert torch.equal(Augment([], seed=0)(IMAGES, 0, torch.arange(64), 0), IMAGES)


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'crops': did you mean 'crop'\?.*flip"):
        Augment(["crops"], seed=0)


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_layout_of_the_images_does_not_matter(name):
    laid = IMAGES.contiguous(memory_format=torch.channels_last)
    ids, augment = torch.arange(64), Augment([name], seed=0)
    assert torch.equal(augment(laid, 0, ids, 0), augment(IMAGES, 0, ids, 0))


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_images_given_stay_as_they_are(name):
    given = IMAGES.clone()
    Augment([name], seed=0)(given, 0, torch.arange(64), 0)
    assert torch.equal(given, IMAGES)


def test_steps_that_are_done_are_not_taken_again():
    ids, augment = torch.arange(64), Augment(["crop", "flip"], seed=0)
    cropped = Crop()(IMAGES, augment.draw(0, ids, 0)[0])
    assert torch.equal(augment(cropped, 0, ids, 0, done=1), augment(IMAGES, 0, ids, 0))
    assert torch.equal(augment(IMAGES, 0, ids, 0, done=2), IMAGES)


@pytest.mark.parametrize("name", AUGMENTS)
def test_keeps_shape_and_type(name):
    augmented = Augment([name], seed=0)(IMAGES, 0, torch.arange(64), 0)
    assert augmented.shape == IMAGES.shape
    assert augmented.dtype == torch.uint8
