"""Boxes as PASCAL VOC writes them: what is read and refused."""

import pytest
from boxed import HIGH, WIDE, boxes, load, save, write


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
        (xml(("", (1, 1, 2, 2), 0)), r"e.xml has an object without a <name>"),
        (xml(("dog", (1, 1, "", 2), 0)), r"e.xml: dog has bbox \['1', '1', '', '2'\]"),
        ("<annotation>", r"e.xml is no XML file"),
        (xml(size=(5, 5)), r"e.jpg .* it is 40 × 30 pixels, and its boxes are for 5 × 5"),
        (xml(size=("wide", 30)), r"e.xml has width 'wide': a whole number of pixels is wanted"),
        (xml(size=(40, 30.5)), r"e.xml has height '30.5': a whole number of pixels is wanted"),
    ):
        write(path, content)
        with pytest.raises(ValueError, match=sentence):
            load(tmp_path / "VOCdevkit" / "VOC2012", "voc")
    write(path, xml(("dog", (1, 1, 20, 30), 0), size=("40.0", 30)))
    assert len(load(tmp_path / "VOCdevkit" / "VOC2012", "voc").test) == 1
    lists = path.parents[1] / "ImageSets" / "Main"
    for content, sentence in (
        (b"d\nd\n", r"train.txt lists 'd' twice: take one of them away"),
        (b"\n", r"train.txt names no image: list some in it"),
        (b"d\n\xfc\n", r"train.txt is no text in UTF-8 \(invalid start byte at byte 2\)"),
    ):
        (lists / "train.txt").write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            load(tmp_path / "VOCdevkit" / "VOC2012", "voc")
