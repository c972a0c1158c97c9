"""Boxes in XML files, as PASCAL VOC has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from torchvision import datasets

from cohobate.data.annotations import PARTS, Box, Picture, Pictures, arranged, numbers
from cohobate.data.folder import by_stem
from cohobate.data.layouts import VOC
from cohobate.data.lists import check_images, lines
from cohobate.data.splits import Splits, existing

LAYOUT = (
    "it should hold Annotations/*.xml, JPEGImages/ and ImageSets/Main/train.txt with a name a line,"
    " val.txt and test.txt likewise"
)


def read_voc(name: str, root: Path | None, download: bool) -> Pictures:
    """XML files and lists as PASCAL VOC has them, of any classes: those of train, by the alphabet.

    With no test.txt, val.txt is the list of the test set. Raises FileNotFoundError, ValueError.
    """
    root = existing(name, root, LAYOUT)
    lists = root / "ImageSets" / "Main"
    if not (lists / "train.txt").is_file():
        raise FileNotFoundError(f"data.root={root} holds no ImageSets/Main/train.txt: {LAYOUT}")
    images = by_stem(root / "JPEGImages")
    found: dict[str, list[tuple[Path, Path]]] = {}
    for part in PARTS:
        if (lists / f"{part}.txt").is_file():
            names = [line.split()[0] for line in lines(lists / f"{part}.txt")]
            check_images(names, lists / f"{part}.txt")
            found[part] = [
                (
                    root / "Annotations" / f"{each}.xml",
                    images.get(each, root / "JPEGImages" / f"{each}.jpg"),
                )
                for each in names
            ]
    training = [path for path, _ in found["train"]]
    kinds = {_kind(thing, path) for path in training for thing in _tree(path).iter("object")}
    classes = tuple(sorted(kinds))
    pictures = {
        part: [_voc_picture(*pair, classes) for pair in pairs] for part, pairs in found.items()
    }
    return arranged(classes, pictures, "test.txt", "val.txt")


def read_voc2007(name: str, root: Path | None, download: bool) -> Pictures:
    """PASCAL VOC 2007: trainval, and its test set."""
    return _official(name, root, download, [("2007", "trainval")], ("2007", "test"))


def read_voc2012(name: str, root: Path | None, download: bool) -> Pictures:
    """PASCAL VOC 2012: train, and val as the test set, since the boxes of its own are not public."""
    return _official(name, root, download, [("2012", "train")], ("2012", "val"))


def read_voc0712(name: str, root: Path | None, download: bool) -> Pictures:
    """PASCAL VOC as papers train on it: trainval of 2007 and 2012, and the test set of 2007."""
    train = [("2007", "trainval"), ("2012", "trainval")]
    return _official(name, root, download, train, ("2007", "test"))


def _official(
    name: str,
    root: Path | None,
    download: bool,
    train: Sequence[tuple[str, str]],
    test: tuple[str, str],
) -> Pictures:
    years = " and ".join(sorted({f"VOCdevkit/VOC{year}" for year, _ in (*train, test)}))
    root = root if download and root else existing(name, root, f"it should hold {years}")
    classes = tuple(VOC[1:])

    def pictures(year: str, part: str) -> list[Picture]:
        try:
            kind = "2007-test" if download and (year, part) == ("2007", "test") else year
            found: Any = datasets.VOCDetection(str(root), kind, part, download=download)
        except (RuntimeError, OSError) as error:
            raise FileNotFoundError(
                f"data.root={root} holds no {part} of VOCdevkit/VOC{year} ({error}):"
                " data.download=true fetches it"
            ) from error
        pairs = zip(found.targets, found.images)
        return [_voc_picture(Path(target), Path(image), classes) for target, image in pairs]

    every = [picture for each in train for picture in pictures(*each)]
    return Splits(classes, every, None, pictures(*test))


def _voc_picture(path: Path, image: Path, classes: tuple[str, ...]) -> Picture:
    """An image by its XML file, whose pixels are counted from one. Raises ValueError.

    Boxes that are marked as difficult are crowds: neither taught nor missed.
    """
    picture, tree = Picture(image), _tree(path)
    if not image.is_file():
        raise FileNotFoundError(f"{path}: there is no image {image}")
    if (size := tree.find("size")) is not None:
        width, height = (_pixels(size, key, path) for key in ("width", "height"))
        picture.size = (width, height) if width and height else None  # some tools write zeros
    for thing in tree.iter("object"):
        kind = _kind(thing, path)
        if kind not in classes:
            raise ValueError(
                f"{path} has an object {kind!r}, which is none of the classes:"
                f" {', '.join(classes[:20])}"
            )
        frame = thing.find("bndbox")
        edges = [
            "" if frame is None else _text(frame, key, "")
            for key in ("xmin", "ymin", "xmax", "ymax")
        ]
        left, top, right, bottom = numbers(edges, f"{path}: {kind}")
        difficult = _text(thing, "difficult", "0") == "1"
        corners = (left - 1, top - 1, right, bottom)
        picture.boxes.append(Box(classes.index(kind), corners, crowd=difficult))
    return picture


def _kind(thing: ElementTree.Element, path: Path) -> str:
    """The class of an object. Raises ValueError where it has no name."""
    kind = _text(thing, "name", "")
    if not kind:
        raise ValueError(f"{path} has an object without a <name>, which is its class: give it one")
    return kind


def _pixels(size: ElementTree.Element, key: str, path: Path) -> int:
    """A side of an image. Raises ValueError where that is no whole number."""
    said = _text(size, key, "0")
    try:
        pixels = float(said)
    except ValueError:
        pixels = float("nan")
    if not pixels.is_integer():
        raise ValueError(f"{path} has {key} {said!r}: a whole number of pixels is wanted")
    return int(pixels)


def _tree(path: Path) -> ElementTree.Element:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: {LAYOUT}")
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is no XML file: {error}") from error


def _text(node: ElementTree.Element, key: str, otherwise: str) -> str:
    return (node.findtext(key) or otherwise).strip()
