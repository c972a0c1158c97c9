"""Images with masks: what is read, what is refused, and how the two move together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from cohobate.core import VOID
from cohobate.data import segmentation
from cohobate.data.images import BadImage
from cohobate.data.layouts import COCO_GAPS
from cohobate.data.masks import MaskEvalLoader, MaskSplit, MaskTrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.shapes import made


def save(path: Path, pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return path


@pytest.fixture()
def folder(tmp_path) -> Path:
    """Six images of 20 × 30 pixels whose red channel is ten times their mask."""
    for number in range(6):
        mask = np.zeros((20, 30))
        mask[5:15, 3 + number : 20] = 1 + number % 2
        mask[0] = VOID
        image = np.stack([10 * mask.clip(0, 2), mask * 0 + 7, mask * 0], 2)
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "masks" / f"{number}.png", mask)
    (tmp_path / "classes.txt").write_text("ground\ncat\ndog\n")
    (tmp_path / "train.txt").write_text("0\n1\n2\n3\n")
    (tmp_path / "val.txt").write_text("4\n5\n")
    return tmp_path


def loader(split: MaskSplit, **options) -> MaskTrainLoader:
    sampler = Sampler(split.targets, 2)
    return MaskTrainLoader(split, sampler, size=16, workers=0, **{"augment": (), **options})


def test_a_folder_is_read_and_its_val_list_is_the_test_set(folder):
    data = segmentation.load("folder", root=folder, val=0.25)
    assert data.classes == ("ground", "cat", "dog")
    assert [len(split) for split in (data.train, data.val, data.test)] == [3, 1, 2]
    assert {path.stem for path in data.test.images} == {"4", "5"}
    assert "val.txt is the test set" in " ".join(data.notes)
    image, mask = data.test.read(0)
    assert image.shape == (3, 20, 30) and mask.shape == (20, 30)
    assert set(mask.unique().tolist()) == {0, 1, VOID}


@pytest.mark.parametrize("augment", [(), ("scale", "crop", "flip")])
def test_image_and_mask_move_together_and_padding_is_void(folder, augment):
    data = segmentation.load("folder", root=folder, val=0)
    for batch in loader(data.train, augment=augment, mean=(1.0, 1.0, 1.0)).epoch(3):
        assert batch.images.shape == (2, 3, 16, 16) and batch.targets.shape == (2, 16, 16)
        red = (255 * batch.images[:, 0] / 10).round()
        padded = batch.images[:, 1] == 1
        assert (batch.targets[padded] == VOID).all()
        inner = torch.nn.functional.max_pool2d(batch.targets.float(), 3, 1, 1)
        outer = -torch.nn.functional.max_pool2d(-batch.targets.float(), 3, 1, 1)
        flat = (inner == outer) & (batch.targets != VOID)  # away from edges, which resizing blurs
        assert flat.any()
        assert (red[flat] == batch.targets[flat]).all()


def test_augmentation_is_a_function_of_seed_epoch_and_image(folder):
    data = segmentation.load("folder", root=folder, val=0)
    whole = {"augment": ("scale", "crop", "flip", "colour"), "seed": 5}

    def epoch(number, **options):
        batches = loader(data.train, **{**whole, **options}).epoch(number)
        return {int(i): image for batch in batches for i, image in zip(batch.ids, batch.images)}

    first, again = epoch(1), epoch(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], image) for key, image in epoch(2).items())
    assert any(not torch.equal(first[key], image) for key, image in epoch(1, seed=6).items())


def test_views_show_one_part_in_other_colours(folder):
    data = segmentation.load("folder", root=folder, val=0)
    plain = next(loader(data.train, augment=("scale", "crop"), views=2).epoch(0))
    assert torch.equal(plain.images[:, 0], plain.images[:, 1])
    coloured = next(loader(data.train, augment=("crop", "colour"), views=2).epoch(0))
    assert coloured.images.shape == (2, 2, 3, 16, 16) and coloured.targets.shape == (2, 16, 16)
    assert not torch.equal(coloured.images[:, 0], coloured.images[:, 1])


def test_evaluation_serves_every_image_whole_and_processes_share_them(folder):
    data = segmentation.load("folder", root=folder, val=0)
    parts = [[*MaskEvalLoader(data.train, workers=0, rank=r, world=2)] for r in range(2)]
    assert sorted(int(batch.ids) for part in parts for batch in part) == [0, 1, 2, 3]
    assert {batch.targets.shape for part in parts for batch in part} == {(1, 20, 30)}


def test_mistakes_are_told_in_a_sentence(folder):
    (folder / "val.txt").write_text("3\n4\n")
    with pytest.raises(ValueError, match=r"'3' stands in the list of test and in that of train"):
        segmentation.load("folder", root=folder)
    (folder / "val.txt").write_text("4\n9\n")
    with pytest.raises(FileNotFoundError, match=r"val.txt, line 2: there is no .*9"):
        segmentation.load("folder", root=folder)
    (folder / "val.txt").write_text("4\n4\n")
    with pytest.raises(ValueError, match="lists '4' twice"):
        segmentation.load("folder", root=folder)
    (folder / "val.txt").write_bytes(b"4\n\xfc\n")
    with pytest.raises(ValueError, match=r"val.txt is no text in UTF-8"):
        segmentation.load("folder", root=folder)
    (folder / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"val.txt names no image"):
        segmentation.load("folder", root=folder)
    (folder / "val.txt").write_text("4\n5\n")
    (folder / "classes.txt").write_text("ground\ncat\ncat\n")
    with pytest.raises(ValueError, match=r"classes.txt lists 'cat' twice: take one of them away"):
        segmentation.load("folder", root=folder)
    (folder / "classes.txt").write_text("\n".join(map(str, range(256))))
    with pytest.raises(
        ValueError, match=r"names 256 classes: two are needed, and 255 are the most"
    ):
        segmentation.load("folder", root=folder)
    (folder / "classes.txt").write_text("ground\ncat\ndog\n")
    (folder / "val.txt").write_text("4.png\n")
    with pytest.raises(FileNotFoundError, match="a list has names without their ending"):
        segmentation.load("folder", root=folder)
    save(folder / "images" / "4.jpg", np.zeros((20, 30, 3)))
    with pytest.raises(ValueError, match=r"images holds 4.jpg and 4.png, and a list names"):
        segmentation.load("folder", root=folder)
    with pytest.raises(ValueError, match=r"data.per_class=3"):
        segmentation.load("folder", root=folder, per_class=3)
    with pytest.raises(ValueError, match="unknown dataset 'voc2013': did you mean 'voc2012"):
        segmentation.load("voc2013")


@pytest.mark.parametrize("part", ["0", "4"], ids=["train", "test"])
@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (
            np.full((20, 30), 3),
            r"png cannot be read: label 3 stands in it, and there are 3 classes",
        ),
        (
            np.zeros((10, 30)),
            r"png cannot be read: it is 30 × 10 pixels, and its image .* 30 × 20;",
        ),
        (np.zeros((20, 30, 3)), r"png cannot be read: a mask holds one number a pixel, .* RGB;"),
        (None, r"png cannot be read: it is not an image of a known format; data.skip_bad=true"),
    ],
    ids=["label", "size", "colours", "damaged"],
)
def test_a_bad_mask_is_told_before_training_or_skipped(folder, part, pixels, sentence):
    bad = folder / "masks" / f"{part}.png"
    bad.write_bytes(b"no image") if pixels is None else save(bad, pixels)
    with pytest.raises(BadImage, match=rf"{part}\.{sentence}") as told:
        segmentation.load("folder", root=folder, val=0)
    assert str(told.value).count("cannot be read") == 1
    kept = segmentation.load("folder", root=folder, val=0, skip_bad=True)
    assert len(kept.train) + len(kept.test) == 5
    assert bad.stem not in {path.stem for path in (*kept.train.images, *kept.test.images)}
    assert f"1 bad file skipped: {part}.png" in kept.notes


def test_of_many_to_train_on_the_headers_alone_are_read(folder, monkeypatch):
    monkeypatch.setattr(segmentation, "CHECKED", 2)
    save(folder / "masks" / "0.png", np.full((20, 30), 3))
    assert len(segmentation.load("folder", root=folder, val=0).train) == 4
    save(folder / "masks" / "0.png", np.zeros((10, 30)))
    with pytest.raises(BadImage, match=r"0.png .* its image 0.png 30 × 20"):
        segmentation.load("folder", root=folder, val=0)
    save(folder / "masks" / "0.png", np.zeros((20, 30)))
    save(folder / "masks" / "4.png", np.full((20, 30), 3))
    with pytest.raises(BadImage, match=r"4.png .* label 3"):
        segmentation.load("folder", root=folder, val=0)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_split_of_void_alone_is_refused(folder, part):
    for number in {"train": range(4), "test": (4, 5)}[part]:
        save(folder / "masks" / f"{number}.png", np.full((20, 30), VOID))
    with pytest.raises(ValueError, match=rf"in the masks of {part} every pixel is void \(255\)"):
        segmentation.load("folder", root=folder, val=0)


def test_a_split_of_bad_masks_alone_is_refused(folder):
    for number in (4, 5):
        (folder / "masks" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="no image of test can be read together with its mask"):
        segmentation.load("folder", root=folder, val=0, skip_bad=True)


def test_masks_of_sbd_are_read_from_matlab_files(tmp_path):
    voc, sbd = tmp_path / "VOCdevkit" / "VOC2012", tmp_path / "sbd"
    for part, name in (("train", "a"), ("val", "b")):
        save(voc / "JPEGImages" / f"{name}.jpg", np.zeros((4, 6, 3)))
        save(voc / "SegmentationClass" / f"{name}.png", np.full((4, 6), 3))
        listed = voc / "ImageSets" / "Segmentation" / f"{part}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(f"{name}\n")
    (sbd / "cls").mkdir(parents=True)
    for part, name in (("train", "c"), ("val", "b")):
        save(sbd / "img" / f"{name}.jpg", np.zeros((4, 6, 3)))
        kind = np.zeros((1,), dtype=[("Segmentation", object)])
        kind["Segmentation"][0] = np.full((4, 6), 20, dtype=np.uint8)
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": kind})
        (sbd / f"{part}.txt").write_text(f"{name}\n")
    data = segmentation.load("voc2012_aug", root=tmp_path, val=0)
    assert [path.stem for path in data.train.images] == ["a", "c"] and len(data.test) == 1
    assert [set(data.train.mask(row).flatten().tolist()) for row in range(2)] == [{3}, {20}]


def test_published_layouts_are_renumbered(tmp_path):
    def pair(images, masks, numbers):
        save(tmp_path / images, np.zeros((4, len(numbers), 3)))
        save(tmp_path / masks, np.array([numbers] * 4))

    home = "ADEChallengeData2016"
    for part in ("training", "validation"):
        pair(
            f"{home}/images/{part}/{part}.jpg", f"{home}/annotations/{part}/{part}.png", [0, 1, 150]
        )
    ade = segmentation.load("ade20k", root=tmp_path, val=0)
    assert ade.train.read(0)[1][0].tolist() == [VOID, 0, 149] and len(ade.classes) == 150

    for part in ("train", "val"):
        pair(
            f"leftImg8bit/{part}/ulm/{part}_leftImg8bit.png",
            f"gtFine/{part}/ulm/{part}_gtFine_labelIds.png",
            [0, 7, 26, 33],
        )
    streets = segmentation.load("cityscapes", root=tmp_path, val=0)
    assert streets.train.read(0)[1][0].tolist() == [VOID, 0, 13, 18]
    assert streets.classes[0] == "road" and len(streets.classes) == 19

    for part in ("train", "val", "test"):
        pair(f"{part}/{part}.png", f"{part}annot/{part}.png", [0, 10, 11, 255])
    driving = segmentation.load("camvid", root=tmp_path)
    assert driving.test.read(0)[1][0].tolist() == [0, 10, VOID, VOID]

    assert len(COCO_GAPS) == 182 - 171
    for part in ("train2017", "val2017"):
        pair(f"{part}/{part}.jpg", f"stuffthingmaps/{part}/{part}.png", [0, 12, 181, 255])
    things = segmentation.load("coco_stuff", root=tmp_path, val=0)
    assert things.train.read(0)[1][0].tolist() == [0, 11, 170, VOID]


@pytest.mark.parametrize("number", [12, 300, -1])
def test_numbers_that_a_published_layout_has_not_are_told(tmp_path, number):
    for part in ("train", "val", "test"):
        save(tmp_path / part / f"{part}.png", np.zeros((4, 3, 3)))
        save(tmp_path / f"{part}annot" / f"{part}.png", np.array([[0, 10, 11]] * 4))
    mask = np.array([[0, 10, number]] * 4, dtype=np.int32)
    Image.fromarray(mask).save(tmp_path / "trainannot" / "train.png", "TIFF")
    with pytest.raises(
        BadImage, match=rf"label {number} .* 11 classes: its labels .* 0 to 11, or 255"
    ):
        segmentation.load("camvid", root=tmp_path)


def test_a_copy_of_a_training_image_is_not_scored(tmp_path):
    for shade, part in enumerate(("train", "val", "test")):
        save(tmp_path / part / "1.png", np.full((4, 3, 3), shade))
        save(tmp_path / f"{part}annot" / "1.png", np.zeros((4, 3)))
    assert len(segmentation.load("camvid", root=tmp_path).train) == 1  # names alone may be the same
    save(tmp_path / "test" / "1.png", np.zeros((4, 3, 3)))
    with pytest.raises(ValueError, match=r"test/1.png of test is a copy of .*train/1.png of train"):
        segmentation.load("camvid", root=tmp_path)


def test_shapes_are_drawn_once_and_their_boxes_hold_them(tmp_path):
    home = made(tmp_path / "shapes")
    first = (home / "images" / "train000.png").stat().st_mtime_ns
    assert made(tmp_path / "shapes") == home
    assert (home / "images" / "train000.png").stat().st_mtime_ns == first
    facts = json.loads((home / "instances_test.json").read_text())
    names = {image["id"]: image["file_name"] for image in facts["images"]}
    assert len(names) == 60 and len(facts["annotations"]) > 60
    for box in facts["annotations"]:
        mask = np.asarray(Image.open(home / "masks" / names[box["image_id"]]))
        left, top, width, height = box["bbox"]
        inside = mask[top : top + height, left : left + width]
        assert (inside == box["category_id"]).sum() >= box["area"] >= 20
