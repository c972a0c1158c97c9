"""Boxes as COCO writes them: what is read, clipped, left out, and refused."""

from copy import deepcopy
from pathlib import Path

import pytest
from boxed import HIGH, WIDE, boxes, load, save, write

from cohobate.data.images import BadImage


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
    content["annotations"][7] |= {"area": -3}
    write(coco / "instances_train.json", content)
    data = load(coco)
    assert data.train.counts.tolist() == [4, 4, 0]
    rest = [[2, 3, 12, 15], [0, 3, 6, 15], [35, 25, 40, 30]]
    assert boxes(data.train, 1)[:3] == rest
    assert boxes(data.train, 1)[3] == pytest.approx([30.2, 20.2, 40, 30])
    assert data.train.crowd.tolist() == [True] + [False] * 7
    assert data.train.area[[0, 1, 4]].tolist() == [55.5, 72, 120]
    assert data.train.labels[:4].tolist() == [0, 1, 0, 1]
    assert data.notes[1:] == (
        "4 boxes with no area: left out",
        "2 boxes with no part within their image: left out",
        "4 boxes with a part outside of their image: clipped",
        "1 box with an area that is not above zero: taken from the box",
        "1 box of crowds: neither taught nor missed",
        "1 image without a box: kept as negatives",
    )


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [[1, 2]],
        [[1, 2, 9, 2, 9]],
        "all of it",
        [["a"] * 6],
        [[float("nan")] * 6],
        {"size": [WIDE, HIGH], "counts": [1200]},
        {"size": [HIGH, WIDE], "counts": ["a", 1200]},
        {"size": [HIGH, WIDE], "counts": [0, 1199]},
    ],
    ids=["none", "point", "odd", "text", "texts", "nan", "size", "runs", "short"],
)
def test_masks_are_learnt_where_all_outlines_are_some(coco, outline):
    content = facts(0, 4)
    for row in content["annotations"]:
        row["segmentation"] = [[2, 3, 12, 3, 12, 15]]
    content["annotations"][0]["segmentation"] = {"size": [HIGH, WIDE], "counts": [0, 1200]}
    write(coco / "instances_train.json", content)
    assert len(load(coco).train.outlines) == 4
    content["annotations"][0]["segmentation"] = outline
    write(coco / "instances_train.json", content)
    data = load(coco)
    assert data.train.outlines is None
    assert "1 box with an outline that is none: masks of such a split are not learnt" in data.notes


def test_what_cannot_be_scored_is_refused_and_what_is_cut_is_told(coco):
    data = load(coco, val=0.5)
    assert "no images to validate on: cut 2 images from train" in data.notes
    content = facts(4, 2)
    content["annotations"].clear()
    write(coco / "instances_val.json", content)
    with pytest.raises(
        ValueError, match="no image of test has a box to learn from or to be scored"
    ):
        load(coco)


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
        (change("categories", 0, id="9"), ValueError,
         "one of its categories has the id 7: numbers alone are wanted, or texts alone"),
        (change("images", 2, id=[2]), ValueError, r"one of its images has the id \[2\]: numbers"),
        (change("annotations", 1, image_id=[0]), ValueError, r"2 is of image \[0\], which is not"),
        (change("annotations", 1, image_id="0"), ValueError, "2 is of image '0', which is not there"),
        (change("annotations", 1, category_id={}), ValueError, "2 is of category {}, which is not"),
        (change("annotations", 1, iscrowd="0"), ValueError, "2 has iscrowd '0': 0 or 1 is wanted"),
        (change("annotations", 1, area="9"), ValueError, "2 has area '9': a number is wanted"),
        (change("images", 1, width="40", height="30"), ValueError,
         r"instances_train.json: image 1 has width '40' and height '30': numbers are wanted"),
        (lambda content: content["categories"].clear(), ValueError,
         r"instances_train.json names no category: its 'categories' are empty"),
        (lambda content: [row.update(iscrowd=1) for row in content["annotations"]], ValueError,
         "no image of train has a box to learn .*; 4 boxes of crowds: neither taught nor missed"),
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
        (lambda content: content["annotations"].clear(), ValueError,
         "no image of train has a box to learn .*; 4 images without a box"),
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
