"""Sets that torchvision reads: small images as one array, photographs as paths; or class folders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.datasets import VisionDataset

from cohobate.data.folder import read_folder
from cohobate.data.splits import Found, Split


@dataclass(frozen=True)
class Torchvision:
    """The reader of one class of `torchvision.datasets`; class folders will do in its place.

    kind: the class.
    train, test, val: the arguments that choose that split.
    images, labels: the attributes that hold all images, or all paths, and all labels.
    """

    kind: Callable[..., VisionDataset]
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    val: Mapping[str, Any] | None = None
    images: str = "data"
    labels: str = "targets"

    def __call__(self, name: str, root: Path | None, download: bool) -> Found:
        """The official splits.

        Raises ValueError without a `root`, FileNotFoundError where the files are missing,
        damaged or cannot be fetched.
        """
        if root is None:
            raise ValueError(
                f"data.name={name} needs data.root=FOLDER: where it lies, "
                "or where data.download=true is to put it"
            )
        try:
            opened = self._open(name, root, download, self.train)
        except FileNotFoundError:
            if (root / "train").is_dir():
                return read_folder(name, root, download)
            raise
        classes = getattr(opened, "classes", "0123456789")  # SVHN alone does not name its digits
        val = self._split(self._open(name, root, False, self.val)) if self.val else None
        test = self._split(self._open(name, root, download, self.test))
        return Found(tuple(classes), self._split(opened), val, test)

    def _open(
        self, name: str, root: Path, download: bool, split: Mapping[str, Any]
    ) -> VisionDataset:
        try:
            return self.kind(root, download=download, **split)
        except (RuntimeError, OSError) as error:
            if download:
                raise FileNotFoundError(
                    f"{name} could not be downloaded to data.root={root} ({error}): check the "
                    "network, or fetch it elsewhere and set data.root to where it lies"
                ) from error
            raise FileNotFoundError(
                f"{name} is not whole in data.root={root}: set data.root to where it lies, or to"
                " class folders (train/CLASS/*, test/CLASS/*), or data.download=true to fetch it"
            ) from error

    def _split(self, opened: VisionDataset) -> Split:
        images, labels = getattr(opened, self.images), getattr(opened, self.labels)
        if isinstance(images, list):
            images = [Path(path) for path in images]
        else:
            images = _planes(torch.as_tensor(images))
        return Split(images, torch.as_tensor(labels).long())


def _planes(images: Tensor) -> Tensor:
    """(N, H, W), (N, H, W, 3) or (N, 3, H, W) to (N, 1 or 3, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    return images.permute(0, 3, 1, 2).contiguous() if images.shape[3] == 3 else images
