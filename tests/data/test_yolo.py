"""Boxes as YOLO writes them: what is read and refused."""

from pathlib import Path

import pytest
from boxed import boxes, load, save, write


def yolo(root: Path, train="images/{}/{}", labels="labels/{}/{}") -> Path:
    for number in range(3):
        part = "train" if number < 2 else "val"
        save(root / f"{train.format(part, number)}.jpg")
        write(root / f"{labels.format(part, number)}.txt", f"{number % 2} 0.5 0.5 0.5 0.2\n")
    return root


def test_yolo_is_read_from_folders_or_by_its_yaml(tmp_path):
    plain = yolo(tmp_path / "plain")
    write(plain / "classes.txt", "cat\ndog\n")
    save(plain / "images" / "train" / "negative.jpg")
    listed = yolo(tmp_path / "listed", "{}/images/{}", "{}/labels/{}")
    names = "names: {0: cat, 1: dog}\n"
    write(listed / "data.yaml", f"train: ../train/images\nval: val/images\n{names}")
    for root, count in ((plain, 3), (listed, 2)):
        data = load(root, "yolo")
        assert data.classes == ("cat", "dog") and len(data.train) == count and len(data.test) == 1
        assert boxes(data.train, 1)[0] == pytest.approx([10, 12, 30, 18])
        assert data.train.labels.tolist() == [0, 1] and data.test.labels.tolist() == [0]
    write(listed / "list.txt", "train/images/1.jpg\n")
    write(listed / "data.yaml", f"path: .\ntrain: list.txt\nval: [val/images]\n{names}")
    assert load(listed, "yolo").train.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 0.5 0.5 0.5", r"0.txt, line 2: '0 0.5 0.5 0.5' should be a class number and four"),
        ("0 0.5 nan 0.5 0.1", "line 2: '0 0.5 nan"),
        ("0.5 0.5 0.5 0.5 0.1", "line 2: '0.5 0.5"),
        ("2 0.5 0.5 0.5 0.1", r"0.txt, line 2: class 2 is not there: they are 0 to 1"),
        ("-1 0.5 0.5 0.5 0.1", "class -1 is not there"),
        (
            "0 20 15 20 6",
            r"line 2: '0 20 15 20 6' is not in shares of the image, which are at most 1",
        ),
    ],
)
def test_malformed_lines_are_named(tmp_path, line, sentence):
    root = yolo(tmp_path)
    write(root / "classes.txt", "cat\ndog\n")
    write(root / "labels" / "train" / "0.txt", f"0 0.5 0.5 0.5 0.2\n{line}\n")
    with pytest.raises(ValueError, match=sentence):
        load(root, "yolo")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("train: [", r"data.yaml is no YAML file"),
        ("names: [cat]", r"data.yaml should say where the images are"),
        ("train: images/train", r"has no names of classes: it should hold data.yaml"),
        ("train: images/train\nnames: {1: cat, 2: dog}", "should number its 2 names from 0 to 1"),
        ("train: elsewhere\nnames: [cat, dog]", r"data.yaml, train: there is no .*elsewhere"),
        ("train: images/train\nnames: {0: cat, one: dog}", "should number its 2 names from 0 to 1"),
        ("train: images/train\nnames: [cat, cat]", r"data.yaml lists 'cat' twice: take one"),
        (
            "train: 5\nnames: [cat, dog]",
            r"data.yaml, train: 5 should be a folder or a list of files",
        ),
        ("train: [images/train, 5]\nnames: [cat, dog]", "5] should be a folder or a list of files"),
        (
            "train: [images/train, images/train]\nnames: [cat, dog]",
            "0.jpg' twice: take one of them",
        ),
        ("train: images/train\nnames: [cat, d\udcfcg]", r"data.yaml is no text in UTF-8"),
    ],
)
def test_mistakes_in_a_yaml_file_are_told(tmp_path, content, sentence):
    root = yolo(tmp_path)
    (root / "data.yaml").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load(root, "yolo")
