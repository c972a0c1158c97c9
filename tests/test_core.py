"""The types that everything speaks: batches, mixtures, and what a method is."""

from dataclasses import dataclass

import pytest
import torch
from lightning_fabric.utilities.apply_func import move_data_to_device
from torch import nn
from torch.utils.data import default_collate

from cohobate.core import Batch, Losses, Method, Mixture, Progress, shrunk, unknown

PARTNER, WEIGHT = [2, 0, 1], [0.25, 1.0, 0.5]
AVERAGE = Mixture(torch.tensor(PARTNER), torch.tensor(WEIGHT))


def cut(height: int = 6, width: int = 4) -> Mixture:
    """Another box in every row; none in the second."""
    mask = torch.ones(3, 1, height, width)
    mask[0, 0, :3, 1:] = 0
    mask[2, 0, 4:, :2] = 0
    return Mixture(AVERAGE.partner, mask.mean((1, 2, 3)), mask)


def draw(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 5, 4), (3, 2, 6, 4), (3, 2, 3, 6, 4)])
def test_blend_averages_any_value_of_a_row(shape):
    value = draw(*shape)
    for b, row in enumerate(AVERAGE.blend(value)):
        expected = WEIGHT[b] * value[b] + (1 - WEIGHT[b]) * value[PARTNER[b]]
        torch.testing.assert_close(row, expected)


@pytest.mark.parametrize("shape", [(3, 2, 6, 4), (3, 2, 3, 6, 4)], ids=["images", "views"])
def test_blend_cuts_maps_along_the_mask(shape):
    value, mix = draw(*shape), cut()
    blended = mix.blend(value)
    for b in range(3):
        for y in range(6):
            for x in range(4):
                source = b if mix.mask[b, 0, y, x] == 1 else PARTNER[b]
                assert torch.equal(blended[b, ..., y, x], value[source, ..., y, x])


@pytest.mark.parametrize("shape", [(3,), (3, 7), (3, 5, 7)])
def test_blend_averages_what_is_no_map_by_the_area(shape):
    value, mix = draw(*shape), cut()
    expected = Mixture(mix.partner, mix.weight).blend(value)
    assert torch.equal(mix.blend(value), expected)
    assert mix.weight.tolist() == pytest.approx([1 - 9 / 24, 1, 1 - 4 / 24])


def test_blend_resizes_the_mask_to_a_smaller_map():
    """A cell of the map keeps the share of its own pixels that the mask keeps."""
    value, mix = draw(3, 5, 2, 2), cut()
    blended = mix.blend(value)
    for b in range(3):
        for y in range(2):
            for x in range(2):
                pixels = mix.mask[b, 0, 3 * y : 3 * y + 3, 2 * x : 2 * x + 2]
                w = pixels.sum().item() / 6
                expected = w * value[b, :, y, x] + (1 - w) * value[PARTNER[b], :, y, x]
                torch.testing.assert_close(blended[b, :, y, x], expected)


def test_shrunk_maps_show_the_mean_of_what_each_cell_covers():
    """Against loops over fine cells, of which whole numbers make up a cell and its copy alike."""
    maps, box = draw(2, 3, 4, 6), torch.tensor([[0.25, 0.5, 0.5, 0.25], [0.0, 0.125, 1.0, 0.625]])
    fine, found = 240, shrunk(maps, box)
    for b, (left, top, width, height) in enumerate(box.tolist()):
        for y in range(4):
            for x in range(6):
                ys = ((torch.arange(fine) + 0.5) / fine + y) / 4
                xs = ((torch.arange(fine) + 0.5) / fine + x) / 6
                ys, xs = (ys - top) / height, (xs - left) / width
                ys, xs = ys[(ys > 0) & (ys < 1)], xs[(xs > 0) & (xs < 1)]
                seen = maps[b][:, (4 * ys).long()][:, :, (6 * xs).long()]
                expected = seen.mean((1, 2)) if seen.numel() else torch.zeros(3)
                torch.testing.assert_close(found[b, :, y, x], expected, rtol=0, atol=5e-3)


def resized() -> Mixture:
    """A box of half the height and width in the first row, of all in the last, none in between."""
    mask = torch.ones(3, 1, 8, 4)
    mask[0, 0, 4:, 1:3] = 0
    mask[2] = 0
    box = torch.tensor([[0.25, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    return Mixture(AVERAGE.partner, mask.mean((1, 2, 3)), mask, box)


@pytest.mark.parametrize("shape", [(3, 2, 8, 4), (3, 2, 5, 8, 4)], ids=["images", "views"])
def test_blend_shows_the_whole_partner_in_a_box(shape):
    value, mix = draw(*shape), resized()
    blended = mix.blend(value)
    small = nn.functional.avg_pool2d(value[PARTNER[0]], 2)
    expected = value[0].clone()
    expected[..., 4:, 1:3] = small
    torch.testing.assert_close(blended[0], expected)
    assert torch.equal(blended[1], value[1])
    torch.testing.assert_close(blended[2], value[PARTNER[2]])
    flat = draw(3, 7)
    assert torch.equal(mix.blend(flat), Mixture(mix.partner, mix.weight).blend(flat))


def test_a_box_of_a_smaller_map_is_that_of_the_images():
    """Cells are means: of the blended images, and of the blended means alike."""
    value, mix = draw(3, 2, 8, 4), resized()
    even = nn.functional.interpolate(nn.functional.avg_pool2d(value, 2), scale_factor=2)
    blended = nn.functional.avg_pool2d(mix.blend(even), 2)
    torch.testing.assert_close(mix.blend(nn.functional.avg_pool2d(value, 2)), blended)


def test_blend_passes_gradients_to_both_rows():
    value = draw(3, 2).requires_grad_()
    AVERAGE.blend(value)[0].sum().backward()
    torch.testing.assert_close(value.grad, torch.tensor([[0.25] * 2, [0.0] * 2, [0.75] * 2]))


@pytest.mark.parametrize("mix", [AVERAGE, cut()], ids=["average", "cut"])
def test_labels_are_mixed_by_weight_and_sum_to_one(mix):
    targets = torch.tensor([1, 3, 1])
    label = Batch(draw(3, 3, 6, 4), targets, torch.arange(3), mix).labels(5)
    expected = torch.zeros(3, 5)
    for b, w in enumerate(mix.weight.tolist()):
        expected[b, targets[b]] += w
        expected[b, targets[PARTNER[b]]] += 1 - w
    torch.testing.assert_close(label, expected)
    torch.testing.assert_close(label.sum(1), torch.ones(3))
    assert label.dtype == torch.float32


def test_a_batch_without_a_mixture_is_as_it_is():
    batch = Batch(draw(3, 3, 6, 4), torch.tensor([1, 3, 1]), torch.arange(3))
    assert batch.inputs is batch.images
    hard = [[0, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert batch.labels(4).tolist() == hard


def test_images_are_never_mixed_in_place():
    images = draw(3, 3, 6, 4)
    batch = Batch(images.clone(), torch.zeros(3, dtype=torch.int64), torch.arange(3), cut())
    assert torch.equal(batch.inputs, cut().blend(images))
    assert not torch.equal(batch.inputs, images)
    assert torch.equal(batch.images, images)


def test_loaders_and_fabric_keep_the_types():
    rows = [Batch(draw(3, 4, 4), torch.tensor(k), torch.tensor(k)) for k in range(3)]
    with pytest.raises(TypeError):
        default_collate(rows)  # no mixture is drawn for a row
    batch = Batch(*default_collate([tuple(row[:3]) for row in rows]), cut(4, 4))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert (type(moved), type(moved.mix)) == (Batch, Mixture)
    numbers = [value for value in (*moved[:3], *moved.mix) if value is not None]
    assert {value.device.type for value in numbers} == {"meta"}
    progress = move_data_to_device(Progress(torch.tensor(0), 1, torch.tensor(0), 1), "meta")
    assert (type(progress), progress.epoch.device.type, progress.epochs) == (Progress, "meta", 1)


class Plain(Method[nn.Linear]):
    companions = 2

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return {"mean": self.model(batch.inputs).mean()}


@dataclass
class Drawing:
    """A mixing that tells what it was asked."""

    asked: tuple | None = None

    def draw(self, images, *, blocks=1, generator=None):
        self.asked = (images, blocks, generator)
        return AVERAGE


def test_a_method_is_abstract_and_holds_its_model():
    with pytest.raises(TypeError, match="forward"):
        Method(nn.Linear(2, 2))
    model = nn.Linear(2, 2)
    method = Plain(model)
    assert (method.model, method.views, method.mix) == (model, 1, None)
    assert method.state_dict().keys() == {"model.weight", "model.bias"}
    assert method.after_step(Progress(0, 1, 0, 1)) is None


def test_mixed_draws_what_the_method_mixes():
    batch = Batch(draw(3, 2), torch.arange(3), torch.arange(3))
    method = Plain(nn.Linear(2, 2))
    assert method.mixed(batch) is batch
    method.mix, generator = Drawing(), torch.Generator()
    mixed = method.mixed(batch, generator)
    assert mixed.mix is AVERAGE
    assert mixed[:3] == batch[:3]
    assert method.mix.asked == (batch.images, 3, generator)


@pytest.mark.parametrize("epoch", [2, torch.tensor(2)])
def test_progress_is_arithmetic(epoch):
    progress = Progress(epoch, 10, 100, 500)
    assert float(progress.epoch / progress.epochs) == pytest.approx(0.2)


def test_unknown_says_the_nearest_and_where_all_stand():
    choices = ["mixup", "kd", "cutmix"]
    nearest = unknown("method", "mixpu", choices)
    assert str(nearest) == (
        "unknown method 'mixpu': did you mean 'mixup'? choose from cutmix, kd, mixup"
    )
    assert str(unknown("method", "zzz", choices)) == (
        "unknown method 'zzz': choose from cutmix, kd, mixup"
    )
    listed = unknown("model", "zzz", choices, listing="cohobate models")
    assert str(listed) == "unknown model 'zzz': `cohobate models` lists them"
