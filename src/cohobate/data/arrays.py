"""Sets that are arrays: scikit-learn's digits, and `.npz` files of the user's own."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cohobate.data.splits import Found, Split, existing, halves

LAYOUT = "it should hold train.npz and test.npz (val.npz if you like) with `images` and `labels`"
IMAGES = "uint8 of shape (N, H, W), (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4), H and W above 0"


def read_digits(name: str, root: Path | None, download: bool) -> Found:
    """The 1,797 handwritten digits of scikit-learn: the same 1,198 to train and 599 to test always."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).round().byte()
    train, test = halves(Split(images, torch.from_numpy(labels).long()), 1 / 3, seed=0)
    return Found(tuple("0123456789"), train, test=test)


def read_npz(name: str, root: Path | None, download: bool) -> Found:
    """`train.npz`, `test.npz` and perhaps `val.npz`.

    Each holds `images`, uint8 (N, H, W), (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4), and `labels`,
    integers (N,) or (N, 1) from 0. `train.npz` may name the classes in `classes`.

    Raises FileNotFoundError for a missing file, ValueError for one that is not like this.
    """
    folder = existing(name, root, LAYOUT)
    files = [folder / "train.npz", folder / "test.npz", folder / "val.npz"]
    for path in files[:2]:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {LAYOUT}")
    arrays = {path: _load(path) for path in files if path.is_file()}
    checked = {path: _check(path, found) for path, found in arrays.items()}
    classes = _classes(files[0], arrays[files[0]])
    for path, (_, targets) in checked.items():
        wrong = targets[(targets < 0) | (targets >= len(classes))]
        if len(wrong):
            raise ValueError(
                f"{path}: label {int(wrong[0])} is out of range: with the {len(classes)} classes "
                f"of train.npz, labels run from 0 to {len(classes) - 1}"
            )
    shapes = {tuple(images.shape[1:]) for images, _ in checked.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"{folder} holds images of the shapes (channels, height, width) "
            f"{' and '.join(map(str, sorted(shapes)))}: make them the same in all its files"
        )
    train, test, *val = (Split(*pair) for pair in checked.values())
    return Found(classes, train, val[0] if val else None, test)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file by name."""
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in ("images", "labels", "classes") if key in file}
    except Exception as error:  # a damaged archive raises whatever its reader stumbles over
        raise ValueError(f"{path} cannot be read as .npz: {error}") from error
    for key in ("images", "labels"):
        if key not in arrays:
            raise ValueError(f"{path} has no array `{key}`: {LAYOUT}")
    return arrays


def _check(path: Path, arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Images (N, 1 or 3, H, W) uint8 and labels (N,) int64 of one file, if they are such."""
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim == 3:
        images = images[..., None]
    right = images.ndim == 4 and images.shape[3] in (1, 3, 4) and 0 not in images.shape[1:3]
    if images.dtype != np.uint8 or not right:
        raise ValueError(f"{path}: `images` is {_kind(arrays['images'])} but should be {IMAGES}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: `labels` is {_kind(arrays['labels'])} but should be whole numbers (N,) or (N, 1)"
        )
    if len(images) != len(labels) or not len(labels):
        raise ValueError(
            f"{path} holds {len(images)} images and {len(labels)} labels: "
            "they should be as many, and not none"
        )
    return _planes(torch.from_numpy(images)), torch.from_numpy(labels.astype(np.int64))


def _classes(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The names of the classes; their numbers where the file does not name them."""
    if "classes" in arrays:
        names = [str(name) for name in arrays["classes"].ravel()]
        if twice := [name for number, name in enumerate(names) if name in names[:number]]:
            raise ValueError(f"{path}: `classes` names {twice[0]!r} twice: name each class once")
    else:
        names = [str(label) for label in np.unique(arrays["labels"])]
        if names != [str(number) for number in range(len(names))]:
            raise ValueError(
                f"{path}: its labels are {', '.join(names[:10])}{', …' if len(names) > 10 else ''} "
                f"but should run from 0 without a gap, or be named in an array `classes`"
            )
    if len(names) < 2:
        raise ValueError(f"{path} has {len(names)} class: two or more are needed")
    return tuple(names)


def _planes(images: Tensor) -> Tensor:
    """(N, H, W, C) to (N, 1 or 3, H, W); transparency is laid over white."""
    if images.shape[3] == 4:
        alpha = images[..., 3:] / 255
        images = (images[..., :3] * alpha + 255 * (1 - alpha)).round().byte()
    return images.permute(0, 3, 1, 2).contiguous()


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
