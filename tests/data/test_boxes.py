"""Batches of images with boxes: what is served, and how image, boxes and masks move together."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data import detection
from cohobate.data.boxes import AUGMENTS, GREY, BoxEvalLoader, BoxTrainLoader
from cohobate.data.images import BadImage
from cohobate.data.sampling import Sampler

SIZES = [(80, 60), (60, 80), (100, 40), (80, 60), (64, 64)]


def outline(left, top, width, height):
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Black images with a red and a green rectangle, of classes 0 and 1; the last has none."""
    root = tmp_path_factory.mktemp("boxes")
    (root / "images").mkdir()
    images, annotations = [], []
    for number, (width, height) in enumerate(SIZES):
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        for channel in range(2) if number < 4 else ():
            left, top = 4 + 20 * channel + number, 6 + 12 * channel
            pixels[top : top + 10, left : left + 14, channel] = 255
            box = [left, top, 14, 10]
            facts = {"bbox": box, "segmentation": outline(*box), "area": 140}
            place = {"id": len(annotations) + 1, "image_id": number + 1}
            annotations.append({**place, **facts, "category_id": 10 * channel + 5, "iscrowd": 0})
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        facts = {"id": number + 1, "file_name": f"{number}.png"}
        images.append({**facts, "width": width, "height": height})
    kinds = [{"id": 5, "name": "red"}, {"id": 15, "name": "green"}]
    facts = {"images": images, "annotations": annotations, "categories": kinds}
    (root / "instances_train.json").write_text(json.dumps(facts))
    Image.new("RGB", (64, 64)).save(root / "images" / "test.png")
    facts["annotations"] = facts["annotations"][:1]  # a box for the image to test on
    facts["images"] = [{"id": 1, "file_name": "test.png"}]
    (root / "instances_test.json").write_text(json.dumps(facts))
    return detection.load("coco", root=root, size=64, val=0)


def loader(data, **options):
    sampler = Sampler(data.train.targets, 5)
    given = {"augment": (), "size": 64, "workers": 0, **options}
    return BoxTrainLoader(data.train, sampler, **given)


def bright(image, label):
    """The box around what is bright in a channel."""
    rows, columns = (image[label] > 0.5).nonzero().unbind(1)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_images_keep_their_shape_and_are_padded_at_the_right_and_below(data):
    (batch,) = loader(data).epoch(0)
    assert batch.images.shape == (5, 3, 64, 64)
    for image, target, row in zip(batch.images, batch.targets, batch.ids.tolist()):
        width, height = SIZES[row]
        high, wide = target["size"].tolist()
        assert max(high, wide) == 64 and wide / high == pytest.approx(width / height, rel=0.03)
        assert target["original"].tolist() == [height, width]
        assert (image[:, high:] == GREY / 255).all() and (image[:, :, wide:] == GREY / 255).all()
        assert len(target["boxes"]) == (2 if row < 4 else 0)
        assert target["boxes"].shape[1:] == (4,) and "masks" not in target
        assert target["area"].tolist() == [140] * len(target["boxes"])


@pytest.mark.parametrize("augment", [(), ("crop", "scale", "flip")])
def test_image_boxes_and_masks_move_together(data, augment):
    shapes, cut = set(), 0
    for epoch in range(6):
        (batch,) = loader(data, augment=augment, masks=True, seed=1).epoch(epoch)
        shapes.add(batch.images.shape)
        for image, target in zip(batch.images, batch.targets):
            high, wide = target["size"].tolist()
            edges = torch.tensor([wide, high, wide, high])
            assert (target["boxes"] >= 0).all() and (target["boxes"] <= edges).all()
            assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
            assert target["masks"].shape == (len(target["boxes"]), 64, 64)
            for box, label, mask in zip(target["boxes"], target["labels"], target["masks"]):
                seen = bright(image[:, :high, :wide], int(label))
                assert box.tolist() == pytest.approx(seen, abs=1.6)
                rows, columns = mask.nonzero().unbind(1)
                around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert [int(side) for side in around] == pytest.approx(seen, abs=1.6)
            cut += len(target["boxes"]) < 2
    assert shapes == {(5, 3, 64, 64)}
    assert cut > 6 if augment else cut == 6  # once an epoch there is the image without any


def test_augmentation_is_a_function_of_seed_epoch_and_image(data):
    def epoch(number, **options):
        (batch,) = loader(data, augment=AUGMENTS, **{"seed": 5, **options}).epoch(number)
        return {
            row: (image, target["boxes"])
            for row, image, target in zip(batch.ids.tolist(), batch.images, batch.targets)
        }

    first, again = epoch(1), epoch(1)
    assert [*first] != [*range(5)]
    for row in first:
        assert all(torch.equal(a, b) for a, b in zip(first[row], again[row]))
    for other in (epoch(2), epoch(1, seed=6)):
        assert any(not torch.equal(first[row][0], other[row][0]) for row in first)


def test_evaluation_shows_every_image_once_in_batches_of_one_shape(data):
    whole = [*BoxEvalLoader(data.train, size=64, workers=0, batch_size=2)]
    assert sorted(row for batch in whole for row in batch.ids.tolist()) == [0, 1, 2, 3, 4]
    shapes = dict.fromkeys(range(5), (64, 64)) | {2: (32, 64)}
    for batch in whole:
        assert len(batch.ids) <= 2
        assert {shapes[row] for row in batch.ids.tolist()} == {tuple(batch.images.shape[-2:])}
    parts = [[*BoxEvalLoader(data.train, size=64, workers=0, rank=r, world=2)] for r in (0, 1)]
    rows = [[row for batch in part for row in batch.ids.tolist()] for part in parts]
    assert sorted(rows[0]) == [0, 2, 4] and sorted(rows[1]) == [1, 3]


def test_workers_serve_the_same(data):
    (own,), (other,) = (loader(data, workers=count, masks=True).epoch(0) for count in (0, 1))
    assert torch.equal(own.images, other.images)
    for a, b in zip(own.targets, other.targets):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_rows_are_taken_with_their_boxes(data):
    taken = data.train.take(torch.tensor([3, 4, 0]))
    assert taken.counts.tolist() == [2, 0, 2] and taken.names()[0].endswith("/3.png")
    for row, source in enumerate([3, 4, 0]):
        assert torch.equal(taken.boxes[taken.of(row)], data.train.boxes[data.train.of(source)])
        assert [taken.outlines[place] for place in taken.of(row)] == [
            data.train.outlines[place] for place in data.train.of(source)
        ]
    assert taken.fingerprint() != data.train.fingerprint()
    assert taken.fingerprint() == data.train.take(torch.tensor([3, 4, 0])).fingerprint()


def test_runs_are_decoded_and_an_outline_that_is_none_is_told(data):
    shapes = detection.load("shapes", val=0).train
    masks = shapes.masks(shapes.of(0), 0)
    assert masks.sum((1, 2)).tolist() == shapes.area[shapes.of(0)].tolist()
    broken = data.train.take(torch.tensor([0]))
    broken.outlines[0] = {"size": [60, 80], "counts": 7}
    with pytest.raises(
        BadImage, match=r"0.png cannot be read: the segmentation of one of its boxes is no"
    ):
        broken.masks(broken.of(0), 0)


def test_an_unknown_augmentation_is_refused(data):
    with pytest.raises(ValueError, match=r"in data.augment 'flop': did you mean 'flip'"):
        loader(data, augment=("flop",))


def test_a_set_that_is_not_at_hand_has_its_classes_and_images():
    data = detection.declared("voc0712", 320)
    assert len(data.classes) == 20 and len(data.train) == 16_551 and data.size == 320
    assert data.train.targets.shape == (16_551,)
    with pytest.raises(ValueError, match=r"data.name=coco: its classes are known once it is read"):
        detection.declared("coco")
