"""Boxes as COCO, PASCAL VOC and YOLO write them: what is read, clipped, left out, and refused."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from PIL import Image

from cohobate.data import detection
from cohobate.data.images import BadImage

WIDE, HIGH = 40, 30


def save(path: Path, size=(WIDE, HIGH)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)
    return path


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def facts(first: int, count: int, boxes=([2, 3, 10, 12],)):
    """A COCO file of images `first`, … with these boxes each, of category 7 and 9 in turn."""
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": WIDE, "height": HIGH}
        for number in range(first, first + count)
    ]
    annotations = [
        {"image_id": image["id"], "category_id": 7 + 2 * (place % 2), "bbox": [*box], "iscrowd": 0}
        for image in images
        for place, box in enumerate(boxes)
    ]
    for number, row in enumerate(annotations, start=1):
        row["id"] = number
    kinds = [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}]
    return {"images": images, "annotations": annotations, "categories": kinds}


@pytest.fixture()
def coco(tmp_path) -> Path:
    for number in range(6):
        save(tmp_path / "images" / f"{number}.jpg")
    write(tmp_path / "instances_train.json", facts(0, 4))
    write(tmp_path / "instances_val.json", facts(4, 2))
    return tmp_path


def load(root, name="coco", **options):
    return detection.load(name, root=root, **{"val": 0, **options})


def boxes(split, row):
    return [box.tolist() for box in split.boxes[split.of(row)]]


def test_coco_is_read_and_its_val_is_the_test_set(coco):
    data = load(coco, val=0.25)
    assert data.classes == ("cat", "dog") and data.size == 640  # by their ids
    assert [len(split) for split in (data.train, data.val, data.test)] == [3, 1, 2]
    assert boxes(data.test, 1) == [[2, 3, 12, 15]] and data.test.labels.tolist() == [0, 0]
    assert data.test.area.tolist() == [120, 120] and not data.test.crowd.any()
    assert data.test.sizes.tolist() == [[HIGH, WIDE]] * 2
    assert "instances_val.json is the test set" in " ".join(data.notes)


def test_coco_is_found_as_it_is_published(tmp_path):
    for part, first in (("train2017", 0), ("val2017", 2)):
        for number in range(first, first + 2):
            save(tmp_path / part / f"{number}.jpg")
        write(tmp_path / "annotations" / f"instances_{part}.json", facts(first, 2))
    data = load(tmp_path)
    assert data.train.images[1] == tmp_path / "train2017" / "1.jpg" and len(data.test) == 2


def test_what_is_odd_is_kept_or_left_out_with_a_count(coco):
    odd = [
        [2, 3, 10, 12],
        [-4, 3, 10, 12],  # beyond the left
        [35, 25, 40.2, 5.3],  # and the right and below
        [30.2, 20.2, 10, 10],  # by less than half a pixel
        [50, 3, 10, 12],  # outside
        [5, 5, 0, 8],  # of no area
        [5, 5, 4, -8],
    ]
    content = facts(0, 2, odd)
    content["images"].append({"id": 2, "file_name": "2.jpg"})
    content["annotations"][0] |= {"iscrowd": 1, "area": 55.5}
    write(coco / "instances_train.json", content)
    data = load(coco)
    assert data.train.counts.tolist() == [4, 4, 0]
    rest = [[2, 3, 12, 15], [0, 3, 6, 15], [35, 25, 40, 30]]
    assert boxes(data.train, 1)[:3] == rest
    assert boxes(data.train, 1)[3] == pytest.approx([30.2, 20.2, 40, 30])
    assert data.train.crowd.tolist() == [True] + [False] * 7
    assert data.train.area[:2].tolist() == [55.5, 72]
    assert data.train.labels[:4].tolist() == [0, 1, 0, 1]
    assert data.notes[1:] == (
        "4 boxes with no area: left out",
        "2 boxes with no part within their image: left out",
        "4 boxes with a part outside of their image: clipped",
        "1 image without a box: kept as negatives",
    )


def change(key, place, **values):
    def changed(content):
        content[key][place] |= values

    return changed


def twice(key):
    return lambda content: content[key].append(deepcopy(content[key][0]))


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (change("annotations", 1, category_id=8), ValueError,
         r"instances_train.json: annotation 2 is of category 8, .* their ids are 7, 9"),
        (change("annotations", 1, image_id=77), ValueError,
         r"annotation 2 is of image 77, which is not there"),
        (change("annotations", 1, bbox=[1, 2, "x", 4]), ValueError,
         r"annotation 2 has bbox \[1, 2, 'x', 4\]: four numbers are wanted"),
        (change("annotations", 1, bbox=[1, 2, float("nan"), 4]), ValueError, "four numbers"),
        (twice("images"), ValueError, "two images have the id 0"),
        (twice("annotations"), ValueError, "two annotations have the id 1"),
        (twice("categories"), ValueError, "two categories have the id 9"),
        (change("categories", 0, name="cat"), ValueError, "name its categories, each once: cat, cat"),
        (change("images", 1, file_name="0.jpg"), ValueError, "images 0 and 1 are one file, 0.jpg"),
        (change("images", 1, file_name="x.jpg"), FileNotFoundError,
         r"image 1, x.jpg, is not there; it was looked for in .*images"),
        (change("images", 1, file_name="5.jpg"), ValueError,
         "image '5' stands in the list of test and in that of train"),
        (change("images", 1, width=HIGH, height=WIDE), BadImage,
         r"1.jpg cannot be read: it is 40 × 30 pixels, and its boxes are for 30 × 40; data.skip_bad"),
        (lambda content: content.pop("categories"), ValueError, "no COCO file: it has no list of 'cat"),
        (lambda content: content["images"].clear(), ValueError, "no COCO file: it has no list of 'ima"),
        (lambda content: content["annotations"][0].pop("id"), ValueError,
         "one of its annotations has no 'id' or no 'image_id'"),
        (lambda content: content["annotations"].clear(), ValueError, "no training image has a box; 4"),
    ],
)  # fmt: skip
def test_mistakes_in_a_coco_file_are_told_in_a_sentence(coco, spoil, error, sentence):
    content = facts(0, 4)
    spoil(content)
    write(coco / "instances_train.json", content)
    with pytest.raises(error, match=sentence):
        load(coco)


def test_mistakes_around_a_coco_file_are_told_in_a_sentence(coco):
    content = facts(4, 2)
    content["categories"].append({"id": 1, "name": "newt"})
    write(coco / "instances_val.json", content)
    with pytest.raises(ValueError, match=r"instances_val.json has the category 'newt', which"):
        load(coco)
    (coco / "instances_val.json").write_text("{")
    with pytest.raises(ValueError, match=r"instances_val.json is no JSON file"):
        load(coco)
    write(coco / "instances_val.json", [1])
    with pytest.raises(ValueError, match=r"instances_val.json is no COCO file"):
        load(coco)
    (coco / "instances_train.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no instances_train.json: it should hold"):
        load(coco)
    with pytest.raises(ValueError, match=r"data.name=coco needs data.root=FOLDER"):
        load(None)
    with pytest.raises(ValueError, match=r"data.per_class=3: an image with boxes is of no class"):
        load(coco, per_class=3)
    with pytest.raises(ValueError, match="unknown dataset 'voc2013': did you mean 'voc20"):
        load(coco, "voc2013")


def test_files_that_cannot_be_read_are_named_or_skipped(coco):
    (coco / "images" / "1.jpg").write_bytes(b"no image")
    save(coco / "images" / "2.jpg", (HIGH, WIDE))
    with pytest.raises(BadImage, match=r"1.jpg cannot be read"):
        load(coco)
    data = load(coco, skip_bad=True)
    assert [path.stem for path in data.train.images] == ["0", "3"] and data.train.counts.sum() == 2
    assert "2 unreadable files skipped: 1.jpg, 2.jpg" in data.notes


def xml(*objects, size=(WIDE, HIGH)) -> str:
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    rows = "".join(
        f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin>"
        f"<ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for kind, (a, b, c, d), difficult in objects
    )
    return f"<annotation>{sides}{rows}</annotation>"


def test_voc_is_read_with_its_difficult_ones_as_crowds(tmp_path):
    def year(number, parts):
        home = tmp_path / "VOCdevkit" / f"VOC{number}"
        for part, names in parts.items():
            write(home / "ImageSets" / "Main" / f"{part}.txt", "\n".join(names) + "\n")
            for name in names:
                save(home / "JPEGImages" / f"{name}.jpg")
                rows = [("dog", (1, 1, 20, 30), 0), ("person", (5, 6, 8, 9), 1)]
                write(home / "Annotations" / f"{name}.xml", xml(*rows))

    year(2007, {"trainval": ["a", "b"], "test": ["c"]})
    year(2012, {"train": ["d"], "val": ["e"], "trainval": ["d", "e"]})
    data = load(tmp_path, "voc0712")
    assert [path.stem for path in data.train.images] == ["a", "b", "d", "e"]
    assert [path.stem for path in data.test.images] == ["c"]
    assert boxes(data.test, 0) == [[0, 0, 20, 30], [4, 5, 8, 9]]  # pixels are counted from one
    assert [data.classes[k] for k in data.test.labels] == ["dog", "person"]
    assert data.test.crowd.tolist() == [False, True] and len(data.classes) == 20
    assert len(load(tmp_path, "voc2007").train) == 2 and len(load(tmp_path, "voc2012").test) == 1
    own = load(tmp_path / "VOCdevkit" / "VOC2012", "voc")
    assert own.classes == ("dog", "person") and len(own.test) == 1
    assert "val.txt is the test set" in own.notes[0]
    with pytest.raises(FileNotFoundError, match=r"holds no ImageSets/Main/train.txt"):
        load(tmp_path, "voc")
    with pytest.raises(FileNotFoundError, match=r"holds no trainval of VOCdevkit/VOC2007"):
        load(tmp_path / "VOCdevkit", "voc0712")

    path = tmp_path / "VOCdevkit" / "VOC2012" / "Annotations" / "e.xml"
    for content, sentence in (
        (
            xml(("cow", (1, 1, 2, 2), 0)),
            r"e.xml has an object 'cow', which is none of the classes: d",
        ),
        (xml(("dog", (1, 1, "", 2), 0)), r"e.xml: dog has bbox \['1', '1', '', '2'\]"),
        ("<annotation>", r"e.xml is no XML file"),
        (xml(size=(5, 5)), r"e.jpg .* it is 40 × 30 pixels, and its boxes are for 5 × 5"),
    ):
        write(path, content)
        with pytest.raises(ValueError, match=sentence):
            load(tmp_path / "VOCdevkit" / "VOC2012", "voc")


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
    ],
)
def test_mistakes_in_a_yaml_file_are_told(tmp_path, content, sentence):
    root = yolo(tmp_path)
    write(root / "data.yaml", content)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load(root, "yolo")
