"""Folders of images and masks, as the field lays them out; nothing is decoded here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchvision import datasets

from cohobate.core import VOID, counted
from cohobate.data.folder import by_stem, is_image
from cohobate.data.lists import check_images, check_once, lines, text
from cohobate.data.masks import MaskSplit
from cohobate.data.splits import Splits, existing

FOLDER = (
    "it should hold images/, masks/ (a PNG of the same name, class numbers, 255 for void), train.txt"
    " with a name a line, val.txt and test.txt likewise, and classes.txt with the names of the classes"
)
VOC = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
CAMVID = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
]
COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
"""The numbers of COCO-Stuff, from 1 to 182, that no class has."""


Masks = Splits[MaskSplit]
"""What a reader of images with masks found."""


def read_folder(name: str, root: Path | None, download: bool) -> Masks:
    """`images/`, `masks/` and lists, as PASCAL VOC has them. With no test.txt, val.txt is the test set.

    Raises FileNotFoundError for a missing root or file, ValueError for another layout.
    """
    root = existing(name, root, FOLDER)
    classes = tuple(_lines(root / "classes.txt", FOLDER))
    check_once(classes, root / "classes.txt")
    if not 2 <= len(classes) <= VOID:
        raise ValueError(
            f"{root / 'classes.txt'} names {counted(len(classes), 'class')}: two are needed, and"
            f" {VOID} are the most, since that number is void"
        )
    by_name = {folder: by_stem(root / folder) for folder in ("images", "masks")}

    def split(part: str) -> MaskSplit | None:
        listed = root / f"{part}.txt"
        if part != "train" and not listed.is_file():
            return None
        names = _lines(listed, FOLDER)
        check_images(names, listed)
        for number, each in enumerate(names, start=1):
            for folder, files in by_name.items():
                if each not in files:
                    raise FileNotFoundError(
                        f"{listed}, line {number}: there is no {root / folder / each}.png, nor of"
                        " another kind of image; a list has names without their ending"
                    )
        images, masks = (
            [by_name[folder][each] for each in names] for folder in ("images", "masks")
        )
        return MaskSplit(images, masks, len(classes))

    train, val, test = map(split, ("train", "val", "test"))
    assert train is not None
    if test is None and val is not None:
        return Masks(classes, train, None, val, ("no test.txt: val.txt is the test set",))
    return Masks(classes, train, val, test)


def read_voc(name: str, root: Path | None, download: bool) -> Masks:
    """PASCAL VOC 2012 as torchvision reads it: train, and val as the test set."""
    root = _place(name, root, download)
    train, test = (_voc(root, part, download) for part in ("train", "val"))
    return Masks(tuple(VOC), train, None, test)


def read_voc_aug(name: str, root: Path | None, download: bool) -> Masks:
    """PASCAL VOC 2012 with SBD's masks for the images that VOC has none of: 10,582 to train on.

    SBD is looked for in `root/sbd`, as torchvision lays it out; its masks are MATLAB files.
    """
    root = _place(name, root, download)
    train, test = (_voc(root, part, download) for part in ("train", "val"))
    taken = {path.stem for path in (*train.images, *test.images)}
    home = root / "sbd"
    try:
        parts: list[Any] = [
            datasets.SBDataset(
                str(home), part, "segmentation", download=download and part == "train"
            )
            for part in ("train", "val")
        ]
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(f"data.name={name}: SBD is not in {home}: {error}") from error
    more = [
        (Path(image), Path(mask))
        for part in parts
        for image, mask in zip(part.images, part.masks)
        if Path(image).stem not in taken
    ]
    images, masks = (
        [*own, *(pair[k] for pair in more)] for k, own in enumerate((train.images, train.masks))
    )
    return Masks(tuple(VOC), MaskSplit(images, masks, len(VOC)), None, test)


def read_ade20k(name: str, root: Path | None, download: bool) -> Masks:
    """ADE20K as the scene parsing challenge has it: 150 classes; 0, anything else, is void."""
    root = existing(name, root, "it should hold ADEChallengeData2016/images/training/*.jpg")
    home = _inside(root, "ADEChallengeData2016")
    renumber = (VOID, *range(150))
    train, test = (
        _twins(home / "images" / part, home / "annotations" / part, 150, renumber)
        for part in ("training", "validation")
    )
    listed = home / "objectInfo150.txt"
    rows = text(listed).splitlines()[1:151] if listed.is_file() else []
    names = [row.split("\t")[-1].split(",")[0].strip() for row in rows]
    return Masks(tuple(names if len({*names}) == 150 else map(str, range(150))), train, None, test)


def read_cityscapes(name: str, root: Path | None, download: bool) -> Masks:
    """Cityscapes with fine masks: its 19 classes, numbered as it says; train, and val as the test set."""
    layout = "it should hold leftImg8bit/train/CITY/*.png and gtFine/train/CITY/*_labelIds.png"
    root = existing(name, root, layout)
    kinds = [kind for kind in datasets.Cityscapes.classes if 0 <= kind.train_id < VOID]
    renumber = [VOID] * (1 + max(kind.id for kind in datasets.Cityscapes.classes))
    for kind in kinds:
        renumber[kind.id] = kind.train_id
    splits = []
    for part in ("train", "val"):
        images = sorted((root / "leftImg8bit" / part).glob("*/*_leftImg8bit.png"))
        if not images:
            raise FileNotFoundError(f"data.root={root} holds no images of {part}: {layout}")
        masks = [
            root / "gtFine" / part / path.parent.name
            / path.name.replace("_leftImg8bit", "_gtFine_labelIds")
            for path in images
        ]  # fmt: skip
        splits.append(MaskSplit(images, _there(masks), len(kinds), tuple(renumber)))
    names = [kind.name for kind in sorted(kinds, key=lambda kind: kind.train_id)]
    return Masks(tuple(names), splits[0], None, splits[1])


def read_camvid(name: str, root: Path | None, download: bool) -> Masks:
    """CamVid as SegNet's tutorial lays it out: train/, trainannot/, and so on; 11 classes, 11 is void."""
    root = existing(
        name, root, "it should hold train/*.png, trainannot/*.png; val and test likewise"
    )
    renumber = (*range(11), VOID)
    train, val, test = (
        _twins(root / part, root / f"{part}annot", 11, renumber)
        for part in ("train", "val", "test")
    )
    return Masks(tuple(CAMVID), train, val, test)


def read_coco_stuff(name: str, root: Path | None, download: bool) -> Masks:
    """COCO-Stuff with 171 classes of things and stuff: train2017, and val2017 as the test set."""
    root = existing(
        name,
        root,
        "it should hold train2017/*.jpg and stuffthingmaps/train2017/*.png; val2017 likewise",
    )
    numbers = [number for number in range(1, 183) if number not in COCO_GAPS]
    renumber = [VOID] * max(numbers)
    for place, number in enumerate(numbers):
        renumber[number - 1] = place
    pictures = root / "images" if (root / "images").is_dir() else root
    train, test = (
        _twins(pictures / part, root / "stuffthingmaps" / part, len(numbers), tuple(renumber))
        for part in ("train2017", "val2017")
    )
    return Masks(tuple(map(str, numbers)), train, None, test)


def _voc(root: Path, part: str, download: bool) -> MaskSplit:
    try:
        found: Any = datasets.VOCSegmentation(str(root), "2012", part, download=download)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"data.root={root} holds no VOCdevkit/VOC2012 ({error}): data.download=true fetches it"
        ) from error
    return MaskSplit([*map(Path, found.images)], [*map(Path, found.masks)], len(VOC))


def _place(name: str, root: Path | None, download: bool) -> Path:
    """The root, which need not be there where it is to be fetched."""
    if download and root is not None:
        return root
    return existing(name, root, "it should hold VOCdevkit/VOC2012")


def _twins(images: Path, masks: Path, classes: int, renumber: Sequence[int]) -> MaskSplit:
    """The images of a folder, and the mask of the same name of each in another."""
    if not images.is_dir():
        raise FileNotFoundError(f"there is no folder {images}")
    paths = sorted(path for path in images.iterdir() if is_image(path))
    if not paths:
        raise ValueError(f"{images} holds no images")
    return MaskSplit(
        paths, _there([masks / f"{p.stem}.png" for p in paths]), classes, tuple(renumber)
    )


def _there(paths: list[Path]) -> list[Path]:
    """The paths. Raises FileNotFoundError for the first that is missing."""
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no mask {path}")
    return paths


def _inside(root: Path, name: str) -> Path:
    return root / name if (root / name).is_dir() else root


def _lines(path: Path, layout: str) -> list[str]:
    """The lines of a list that hold something. Raises FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: {layout}")
    return lines(path)
