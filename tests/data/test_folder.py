import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image

from cohobate.data.classification import load
from cohobate.data.images import BadImage

THREE = {
    f"{split}/{name}": count
    for split, count in {"train": 10, "val": 4, "test": 5}.items()
    for name in ("bees", "ants")
}
TRAIN = {name: count for name, count in THREE.items() if name.startswith("train")}


def test_three_splits_are_used_as_they_are(folder):
    data = load("folder", root=str(folder(THREE)), val=0.5)
    assert data.classes == ("ants", "bees")
    assert [len(split) for split in (data.train, data.val, data.test)] == [20, 8, 10]
    assert data.train.targets.tolist() == [0] * 10 + [1] * 10
    assert data.notes == ()


def test_classes_that_are_short_of_images_are_noted(folder):
    counts = {"train/ants": 20, "train/bees": 1, "train/cats": 6, "test/ants": 1}
    data = load("folder", root=folder(counts), val=0.9)
    assert torch.bincount(data.train.targets).tolist() == [2, 1, 1]
    assert torch.bincount(data.val.targets, minlength=3).tolist() == [18, 0, 5]
    assert data.notes == (
        "data.val=0.9 finds a single image, which stays to train on, of 1 class: bees",
        "data.val=0.9 leaves a single image to train on of 1 class: cats",
    )


def test_a_class_of_one_image_is_noted_where_a_test_set_is_cut(folder):
    data = load("folder", root=folder({"ants": 20, "bees": 1}), val=0)
    assert torch.bincount(data.test.targets, minlength=2).tolist() == [4, 0]
    assert any(note.startswith("the cut for test finds a single image") for note in data.notes)


def test_many_short_classes_are_not_all_named(folder):
    classes = {f"train/class{number}": 1 for number in range(7)}
    data = load("folder", root=folder({"train/ants": 20, **classes, "test/ants": 1}))
    (note,) = data.notes
    assert note.endswith("of 7 classes: class0, class1, class2, class3, class4, …")


def test_too_few_for_what_is_wanted_of_each_class_names_the_cut(folder):
    with pytest.raises(ValueError, match=r"per_class=8 .* 'ants' has: .* at most 1, .*data\.val"):
        load("folder", root=folder(TRAIN | {"test/ants": 1}), val=0.9, per_class=8)


def test_small_images_are_held_in_memory(folder):
    root = folder(THREE, size=(40, 40))
    data = load("folder", root=root)
    assert (data.size, data.channels, data.augment) == (40, 3, ("crop", "flip"))
    assert data.train.images.shape == (20, 3, 40, 40)
    with Image.open(root / "train/bees/003.png") as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(data.train.images[13], expected)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


@pytest.mark.parametrize(
    ("shape", "size"),
    [((300, 260), 224), ((200, 130), 128), ((200, 200), 192), ((40, 30), 32), ((20, 15), 32)],
)
def test_size_is_found_out(folder, shape, size):
    data = load("folder", root=folder(THREE, size=shape, suffix=".jpg"))
    assert data.size == size
    assert isinstance(data.train.images, torch.Tensor) == (size <= 96)
    assert data.augment == (("crop", "flip") if size <= 96 else ("resized_crop", "flip"))


def test_size_overrides(folder):
    root = folder(THREE, size=(130, 100))
    assert load("folder", root=root, size=48).train.images.shape == (20, 3, 48, 48)
    assert load("folder", root=root, size=160).train.images[0] == root / "train/ants/000.png"


def test_too_much_for_memory_stays_in_files(folder, monkeypatch):
    monkeypatch.setattr("cohobate.data.serving.MEMORY", 38 * 3 * 32 * 32 - 1)
    assert isinstance(load("folder", root=folder(THREE)).train.images, list)


def test_grey_files_are_found_out(tmp_path):
    for name in ("ants", "bees"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for row in range(4):
            picture(row).convert("L").save(tmp_path / f"train/{name}/{row}.png")
    data = load("folder", root=tmp_path)
    assert data.channels == 1
    assert data.train.images.shape[1] == 3
    assert len(set(data.mean)) == 1


def test_val_is_the_test_set_where_there_is_no_other(folder):
    root = folder({name: count for name, count in THREE.items() if "test" not in name})
    data = load("folder", root=root, val=0.2)
    assert [len(split) for split in (data.train, data.val, data.test)] == [16, 4, 8]
    with Image.open(root / "val/ants/000.png") as image:
        assert np.array_equal(data.test.images[0].permute(1, 2, 0).numpy(), np.array(image))
    assert "no test/ folder: val/ is the test set" in data.notes[0]


@pytest.mark.parametrize("direct", [False, True])
def test_test_set_is_cut_where_there_is_none(folder, direct):
    root = folder({name.removeprefix("train/") if direct else name: n for name, n in TRAIN.items()})
    splits = {}
    for seed in (0, 0, 1):
        data = load("folder", root=root, size=128, seed=seed)  # as paths, to compare
        now = [split.images for split in (data.train, data.val, data.test)]
        assert [len(split) for split in now] == [14, 2, 4]
        assert len({path for split in now for path in split}) == 20
        assert splits.setdefault(seed, now) == now
        assert any("cut 20% of each class for test" in note for note in data.notes)
    assert splits[0][1] != splits[1][1]  # what validates goes by the seed,
    assert splits[0][2] == splits[1][2]  # what tests does not


def test_what_is_hidden_or_no_image_is_ignored(folder):
    root = folder(THREE)
    (root / "train/.cache").mkdir()
    (root / "train/ants/.hidden.png").write_bytes(b"")
    (root / "train/ants/notes.txt").write_text("hello")
    (root / "train/labels.csv").write_text("hello")
    assert len(load("folder", root=root).train) == 20


def test_capital_suffixes_count(folder):
    root = folder(THREE)
    (root / "train/ants/000.png").rename(root / "train/ants/000.PNG")
    assert len(load("folder", root=root, val=0).train) == 20


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({}, "holds no class folders, and two are needed: it should hold train/CLASS"),
        ({"train/ants": 2}, r"train holds one class only, 'ants', and two are needed"),
        ({"ants": 2}, r"holds one class only, 'ants', and two are needed"),
        ({**TRAIN, "train/cats": 0}, r"class folder .*train/cats has no images: .*\.jpg"),
        ({**TRAIN, "test/ants": 0}, r"class folder .*test/ants has no images"),
        ({**TRAIN, "val/cats": 2}, r"class folder .*val/cats has no .* train/: .* ants, bees"),
        ({"val/ants": 2, "val/bees": 2, "test/ants": 1}, "holds val and test but no train"),
    ],
)
def test_other_layouts_are_refused(folder, tmp_path, counts, sentence):
    folder(counts)
    with pytest.raises(ValueError, match=sentence):
        load("folder", root=tmp_path)


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.root=.*gone is not a folder: it should"):
        load("folder", root=tmp_path / "gone")
    with pytest.raises(ValueError, match=r"data\.name=folder needs data\.root=FOLDER"):
        load("folder")


def test_bad_images_stop_the_run_and_are_named(folder, truncate):
    root = folder(THREE)
    truncate(root / "train/bees/002.png")
    truncate(root / "test/ants/001.png")
    with pytest.raises(BadImage) as caught:
        load("folder", root=root)
    sentence = str(caught.value)
    assert sentence.startswith(f"image {root}/train/bees/002.png cannot be read: ")
    assert "2 of 38 images" in sentence
    assert "data.skip_bad=true" in sentence


def test_bad_images_are_skipped_and_counted(folder, truncate):
    root = folder(THREE)
    for row in range(6):
        truncate(root / f"train/bees/{row:03}.png")
    truncate(root / "val/ants/001.png")
    data = load("folder", root=root, skip_bad=True)
    assert torch.bincount(data.train.targets).tolist() == [10, 4]
    assert (len(data.val), len(data.test)) == (7, 10)
    assert data.notes == (
        "7 unreadable images skipped: bees/000.png, bees/001.png, bees/002.png, bees/003.png,"
        " bees/004.png, …",
    )


def test_a_class_of_bad_images_alone_is_named(folder, truncate):
    root = folder(THREE)
    for row in range(10):
        truncate(root / f"train/bees/{row:03}.png")
    with pytest.raises(ValueError, match="no training image of class 'bees' can be read"):
        load("folder", root=root, skip_bad=True)


def test_many_files_are_not_checked_before_they_are_read(folder, truncate, monkeypatch):
    monkeypatch.setattr("cohobate.data.serving.CHECKED", 30)
    monkeypatch.setattr("cohobate.data.serving.MEASURED", 1)
    root = folder(THREE)
    truncate(root / "test/bees/004.png")
    assert len(load("folder", root=root, size=128).test) == 10
    assert len(load("folder", root=root, size=128, skip_bad=True).test) == 9
    with pytest.raises(BadImage, match=r"test/bees/004\.png .*; data\.skip_bad=true goes on"):
        load("folder", root=root)


def test_hymenoptera(measured_data):
    data = load("folder", root=measured_data / "hymenoptera")
    assert data.classes == ("ants", "bees")
    assert len(data.train) + len(data.val) == 244
    assert len(data.test) == 153
    assert data.channels == 3
    assert isinstance(data.train.images, list)
