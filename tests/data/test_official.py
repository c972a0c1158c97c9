"""Sets in their authors' layouts, on small copies; which image is which class is known by its colour."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from cohobate.data.classification import DATASETS, load
from cohobate.data.official import Official

CLASSES = 3
TRAIN = [(number, copy) for number in range(CLASSES) for copy in range(4)]
TEST = [(number, copy) for number in range(CLASSES) for copy in range(4, 6)]


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (80 * number, 0, 0)).save(path)


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def cub200(root: Path) -> list[str]:
    names = ["Laysan Albatross", "Crested Auklet", "Brewer Blackbird"]
    rows = sorted([*TRAIN, *TEST], key=lambda row: -row[1])  # not in the order of the classes
    folders = [f"{n + 1:03d}.{name.replace(' ', '_')}" for n, name in enumerate(names)]
    paths = [f"{folders[n]}/{copy}.jpg" for n, copy in rows]
    for path, (number, _) in zip(paths, rows):
        picture(root / "images" / path, number)
    write(root / "images.txt", (f"{k} {path}" for k, path in enumerate(paths, 1)))
    write(root / "classes.txt", (f"{k} {name}" for k, name in enumerate(folders, 1)))
    write(root / "image_class_labels.txt", (f"{k} {n + 1}" for k, (n, _) in enumerate(rows, 1)))
    write(root / "train_test_split.txt", (f"{k} {int(c < 4)}" for k, (_, c) in enumerate(rows, 1)))
    return ["Laysan_Albatross", "Crested_Auklet", "Brewer_Blackbird"]


def stanford_dogs(root: Path) -> list[str]:
    folders = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02113978-Mexican_hairless"]
    (root / "lists").mkdir(parents=True)
    for name, rows in (("train", TRAIN), ("test", TEST)):
        paths = [f"{folders[n]}/{copy}.jpg" for n, copy in rows]
        for path, (number, _) in zip(paths, rows):
            picture(root / "Images" / path, number)
        files = np.array(paths, dtype=object)[:, None]
        labels = np.array([[n + 1] for n, _ in rows])
        savemat(root / "lists" / f"{name}_list.mat", {"file_list": files, "labels": labels})
    return ["Chihuahua", "Japanese_spaniel", "Mexican_hairless"]


def mit67(root: Path) -> list[str]:
    names = ["airport_inside", "bakery", "warehouse"]
    for part, rows in (("Train", TRAIN), ("Test", TEST)):
        for number, copy in rows:
            picture(root / "Images" / names[number] / f"{copy}.jpg", number)
        write(root / f"{part}Images.txt", (f"{names[n]}/{copy}.jpg" for n, copy in rows))
    return names


def stanford40(root: Path) -> list[str]:
    names = ["applauding", "climbing", "writing_on_a_book"]
    for part, rows in (("train", TRAIN), ("test", TEST)):
        for number, name in enumerate(names):
            files = [f"{name}_{copy:03d}.jpg" for n, copy in rows if n == number]
            for file in files:
                picture(root / "JPEGImages" / file, number)
            write(root / "ImageSplits" / f"{name}_{part}.txt", files)
    write(root / "ImageSplits" / "actions.txt", names)
    return names


def stanford_cars(root: Path) -> list[str]:
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
    (root / "devkit").mkdir(parents=True)
    for rows, folder, file in (
        (TRAIN, "cars_train", "devkit/cars_train_annos.mat"),
        (TEST, "cars_test", "cars_test_annos_withlabels.mat"),
    ):
        table = np.zeros(len(rows), dtype=[("class", object), ("fname", object)])
        for k, (number, _) in enumerate(rows):
            table[k] = (number + 1, f"{k:05d}.jpg")
            picture(root / folder / f"{k:05d}.jpg", number)
        savemat(root / file, {"annotations": table})
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)})
    return names


def tiny_imagenet(root: Path) -> list[str]:
    wnids = ["n01443537", "n01629819", "n01641577"]
    for number, copy in TRAIN:
        wnid = wnids[number]
        picture(root / "train" / wnid / "images" / f"{wnid}_{copy}.JPEG", number)
    rows = TEST[::-1]
    for k, (number, _) in enumerate(rows):
        picture(root / "val" / "images" / f"val_{k}.JPEG", number)
    lines = (f"val_{k}.JPEG\t{wnids[n]}\t0\t32\t44\t62" for k, (n, _) in enumerate(rows))
    write(root / "val" / "val_annotations.txt", lines)
    write(root / "wnids.txt", reversed(wnids))
    write(root / "words.txt", ["n01443537\tgoldfish, Carassius auratus", "n01629819\tsalamander"])
    return ["goldfish, Carassius auratus", "salamander", "n01641577"]


MAKERS: dict[str, Callable[[Path], list[str]]] = {
    "cub200": cub200,
    "mit67": mit67,
    "stanford40": stanford40,
    "stanford_cars": stanford_cars,
    "stanford_dogs": stanford_dogs,
    "tiny_imagenet": tiny_imagenet,
}


@pytest.fixture
def small(monkeypatch) -> Callable[[str], str]:
    """Makes the table say that a set is as small as the copies here."""

    def shrink(name: str) -> str:
        facts = replace(DATASETS[name], classes=CLASSES, train=len(TRAIN), test=len(TEST))
        monkeypatch.setitem(DATASETS, name, facts)
        return name

    return shrink


@pytest.fixture(params=MAKERS)
def name(request, small) -> str:
    return small(request.param)


def layout(name: str) -> Official:
    reader = DATASETS[name].read
    assert isinstance(reader, Official)
    return reader


def colours(split) -> list[int]:
    return [int(np.asarray(Image.open(path))[0, 0, 0]) // 70 for path in split.images]


@pytest.mark.parametrize("inside", [False, True], ids=["itself", "unpacked in it"])
def test_official_layout(name, inside, tmp_path):
    names = MAKERS[name](tmp_path / layout(name).inside if inside else tmp_path)
    data = load(name, root=tmp_path, val=0, size=224)
    assert data.classes == tuple(names)
    assert (len(data.train), len(data.test)) == (len(TRAIN), len(TEST))
    for split in (data.train, data.test):
        assert colours(split) == split.targets.tolist()


def test_aircraft(small, tmp_path):
    names = ["707-320", "A300B4", "Yak-42"]
    place = tmp_path / "fgvc-aircraft-2013b" / "data"
    for part, rows in (("trainval", TRAIN), ("test", TEST)):
        for number, copy in rows:
            picture(place / "images" / f"{number}{copy}.jpg", number)
        write(place / f"images_variant_{part}.txt", (f"{n}{c} {names[n]}" for n, c in rows))
    write(place / "variants.txt", names)
    data = load(small("aircraft"), root=tmp_path, val=0)
    assert data.classes == tuple(names)
    assert (len(data.train), len(data.test)) == (len(TRAIN), len(TEST))
    for split in (data.train, data.test):
        assert colours(split) == split.targets.tolist()


@pytest.mark.parametrize("name", [*MAKERS, "aircraft"])
@pytest.mark.parametrize("second", ["test", "val"])
def test_class_folders_will_do(small, name, second, tmp_path):
    for part, rows in (("train", TRAIN), (second, TEST)):
        for number, copy in rows:
            picture(tmp_path / part / f"class{number}" / f"{copy}.png", number)
    data = load(small(name), root=tmp_path, val=0, size=224)
    assert data.classes == ("class0", "class1", "class2")
    assert colours(data.test) == data.test.targets.tolist()


def test_tiny_imagenet_is_served_at_32_pixels_and_at_its_own_64_where_asked(small, tmp_path):
    MAKERS["tiny_imagenet"](tmp_path)
    for size, served in ((None, 32), (64, 64)):
        data = load(small("tiny_imagenet"), root=tmp_path, val=0, size=size)
        assert data.train.images.shape == (len(TRAIN), 3, served, served)


def test_what_is_missing_is_named(name, tmp_path):
    with pytest.raises(ValueError, match=rf"data\.name={name} needs data\.root"):
        load(name)
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root=tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} is not in data.root={tmp_path}")
    assert layout(name).mark in sentence
    assert "http" in sentence
    with pytest.raises(ValueError, match="cannot be downloaded from here: fetch it from http"):
        load(name, root=tmp_path, download=True)


def test_an_image_of_a_list_that_is_not_there(name, tmp_path):
    MAKERS[name](tmp_path)
    found = load(name, root=tmp_path, val=0, size=224)
    path = found.test.images[-1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name} is listed and not there"):
        load(name, root=tmp_path)


def test_a_list_that_is_not_whole(name, tmp_path):
    MAKERS[name](tmp_path)
    lists = [p for p in tmp_path.rglob("*") if p.suffix in (".mat", ".txt")]
    for path in lists:
        if path.name not in ("wnids.txt", "actions.txt"):
            path.write_text("1 2\n" if path.suffix == ".txt" else "")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_number_of_images_is_refused(tmp_path):
    MAKERS["mit67"](tmp_path)
    with pytest.raises(ValueError, match="mit67 has 67 classes but 3 were found"):
        load("mit67", root=tmp_path)


def test_imagenet_is_class_folders_whose_val_is_the_test_set(small, tmp_path):
    for part, rows in (("train", TRAIN), ("val", TEST)):
        for number, copy in rows:
            picture(tmp_path / part / f"n0{number}" / f"{copy}.JPEG", number)
    data = load(small("imagenet"), root=tmp_path, val=0)
    assert (len(data.train), len(data.test), data.size) == (len(TRAIN), len(TEST), 224)
