"""Any timm pyramid with one of torchvision's detectors: boxes and their classes."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cohobate.core import Batch, Losses, unknown
from cohobate.models.classifier import Classifier
from cohobate.models.heads import HEADS, Found, Sizes
from cohobate.models.pyramid import Pyramid, features, pyramid_encoder

RGB = tuple[float, float, float]
LARGE = 512
"""The long side of images, in pixels, from which on levels, anchors and samples are as published. Below,
things of a few pixels would fall between the places of a one-stage detector, which begins at a stride
of 4 and not of 8; see `heads.TwoStage` for the others."""


class Answer(NamedTuple):
    """What a detector says of a training batch.

    losses: by name.
    levels: the maps (B, width, H_i, W_i) of its pyramid, fine to coarse.
    scores, places: as `heads.Said` has them.
    """

    losses: Losses
    levels: list[Tensor]
    scores: Tensor
    places: list[Tensor] | None


class Detector(nn.Module):
    """A timm network that finds objects in raw images in [0, 1].

    arch: timm's name of a network whose stages are a pyramid, or one of the `cifar_...` networks.
    detector: "fasterrcnn", "maskrcnn", "retinanet" or "fcos", as torchvision has them.
    width: channels of the pyramid and of the heads, a multiple of 32; 64 or more with FCOS, whose norms
        have 32 groups.
    size: the long side of the images that it is trained on; others pass it as well.
    frozen_bn: keep the encoder's batch norms as they are, in eval mode, which batches of a few images
        ask for where it was trained before.
    pretrained, mean, std, options: as for `Classifier`.

    `encoder.net` is the timm network itself, without its classifier, under timm's own keys.
    Raises ValueError as `Classifier` does, and for a network that a pyramid cannot stand on.
    """

    compile_scope = "backbone"
    task = "detection"

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        detector: str = "fasterrcnn",
        width: int = 256,
        size: int | None = None,
        frozen_bn: bool = False,
        pretrained: bool = False,
        mean: RGB | None = None,
        std: RGB | None = None,
        **options: Any,
    ):
        super().__init__()
        if detector not in HEADS:
            raise unknown("detector", detector, HEADS)
        least = 64 if detector == "fcos" else 32
        if width < least or width % 32:
            raise ValueError(
                f"model.width={width} should be a multiple of 32, and {least} or more with"
                f" model.detector={detector!r}"
            )
        look, kind = HEADS[detector]
        shared = {"size": size, "mean": mean, "std": std}
        encoder = pyramid_encoder(arch, num_classes, pretrained=pretrained, **shared, **options)
        large = encoder.size >= LARGE
        finest = 8 if large and not look.exclusive else 4
        self.backbone = Pyramid(encoder, width, finest)
        strides, stages = self.backbone.strides, self.backbone.stages
        self.heads: Any = look(kind, num_classes, width, strides, stages, large)
        self.num_classes, self.size, self.width = num_classes, encoder.size, width
        self.frozen_bn = frozen_bn
        self.kept = False
        self.pretrained_cfg = dict[str, Any]()
        own = {"arch": arch, "detector": detector, "width": width, "frozen_bn": frozen_bn}
        self.spec = {**own, **shared, **options}
        self.freeze(0)

    @property
    def net(self) -> nn.Module:
        """All that is trained and deployed: this module itself."""
        return self

    @property
    def asks(self) -> dict[str, Any]:
        """Masks, where it learns them."""
        return {"masks": True} if self.spec["detector"] == "maskrcnn" else {}

    @property
    def encoder(self) -> Classifier:
        """The timm network below the pyramid."""
        return self.backbone.encoder

    @property
    def stages(self) -> Any:
        """Those of the encoder."""
        return self.encoder.stages

    def forward(self, images: Tensor) -> list[Found]:
        """What is found in images (B, 3, H, W) in [0, 1], as `detect` tells it, all of them whole."""
        return self.heads(self.backbone(images), images, _whole(images))

    def detect(self, images: Tensor, sizes: Any) -> list[Found]:
        """What is found in images (B, 3, H, W) in [0, 1], padded at the bottom and on the right.

        sizes: height and width of each without its padding.
        Returns for each image boxes (M, 4), left top right bottom in its pixels, scores (M,) and
        labels (M,), the classes from 0.
        """
        return self.heads(self.backbone(images), images, _sizes(sizes))

    @property
    def least(self) -> float:
        """The score below which one-stage heads drop a box."""
        return self.heads.net.score_thresh

    @property
    def overlap(self) -> float:
        """The IoU with a better box of its class from which on one-stage heads drop a box."""
        return self.heads.net.nms_thresh

    def every(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What one-stage heads say at every place, before suppression.

        images: (B, 3, H, W) in [0, 1], all of them whole, with sides of multiples of 32 pixels.
        Returns boxes (B, N, 4), left top right bottom in pixels, and scores (B, N, num_classes).
        """
        return self.heads.every(self.backbone(images), images)

    def features(self, images: Tensor) -> list[Tensor]:
        """The map of every stage, shallow to deep."""
        return features(self.encoder, images)

    def losses(self, batch: Batch) -> Losses:
        """Those of torchvision's detector: `class` and `box` of all, and more by its kind."""
        return self.answer(batch).losses

    def answer(self, batch: Batch) -> Answer:
        """Losses of a batch, crowds aside, and what they are made of.

        Raises ValueError where masks are to be learnt and there are none.
        """
        images, targets = batch.images, [_single(target) for target in batch.targets]
        if self.asks and any("masks" not in target for target in targets):
            raise ValueError(
                'model.detector="maskrcnn" learns masks, and not every box of this data has one: choose'
                ' model.detector="fasterrcnn"'
            )
        sizes = _whole(images) if images.is_meta else _sizes(t["size"] for t in targets)
        levels = self.backbone(images)
        said = self.heads.say(levels, images, sizes, targets)
        return Answer(said.losses, levels, said.scores, said.places)

    def scores(self, batch: Batch, places: list[Tensor] | None) -> Tensor:
        """(N, K) logits of the classes at the places of another detector's `Answer`."""
        images = batch.images
        whole = images.is_meta
        sizes = _whole(images) if whole else _sizes(t["size"] for t in batch.targets)
        return self.heads.scores(self.backbone(images), sizes, places)

    def freeze(self, depth: int | Literal["backbone"]) -> None:
        """Keeps the first `depth` stages with all before them, or the whole encoder, as they are."""
        if depth == "backbone":
            self.encoder.hold()
        else:
            self.encoder.freeze(depth)
        if self.frozen_bn:
            norms = [part for part in self.encoder.modules() if isinstance(part, _BatchNorm)]
            self.encoder.kept = [*self.encoder.kept, *norms]
            for norm in norms:
                norm.requires_grad_(False)
        self.train(self.training)

    def hold(self) -> None:
        """Keeps all of the network as it is, in eval mode, while what a method adds learns."""
        self.requires_grad_(False)
        self.encoder.hold()
        self.kept = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Detector":
        return super().train(mode and not self.kept)

    def head(self) -> nn.ModuleList:
        """All that is new where the encoder is not."""
        return nn.ModuleList([self.backbone.fpn, self.heads])

    def fresh(self, num_classes: int | None = None) -> "Detector":
        """The same architecture with new weights, never pretrained ones."""
        model = Detector(num_classes=num_classes or self.num_classes, **self.spec)
        for name in ("mean", "std"):
            model.encoder.get_buffer(name).copy_(self.encoder.get_buffer(name))
        return model

    def noise_targets(
        self, rows: int, size: int, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], ...]:
        """A box or two of random places and classes for each image, with masks where they are learnt."""
        return tuple(self._noise(size, generator) for _ in range(rows))

    def _noise(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        corners = size / 2 * torch.rand(2, 2, generator=generator)
        boxes = torch.cat([corners, corners + size / 4], 1)
        whole = torch.tensor([size, size])
        target = {
            "boxes": boxes,
            "labels": torch.randint(self.num_classes, (2,), generator=generator),
            "area": torch.full((2,), size**2 / 16),
            "crowd": torch.zeros(2, dtype=torch.bool),
            "size": whole,
            "original": whole,
        }
        if self.asks:
            target["masks"] = torch.ones(2, size, size, dtype=torch.uint8)
        return target


PER_BOX = ("boxes", "labels", "area", "masks")


def _single(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """A target without its crowds: what the box of many of a class holds is not learnt."""
    if target["crowd"].is_meta:
        return target
    single = ~target["crowd"]
    return {**target, **{key: target[key][single] for key in PER_BOX if key in target}}


def _whole(images: Tensor) -> Sizes:
    return [(images.shape[-2], images.shape[-1]) for _ in images]


def _sizes(given: Any) -> Sizes:
    return [(int(high), int(wide)) for high, wide in given]
