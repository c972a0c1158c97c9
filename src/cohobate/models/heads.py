"""What torchvision's detectors put on a pyramid: their heads, matching, losses and suppression.

Their own forward passes are not used: images come padded and are normalised elsewhere, boxes stay in
float32 under autocast, and what is said of the classes is at hand for a student or a teacher.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import fastrcnn_loss, maskrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign

from cohobate.core import Losses

Targets = list[dict[str, Tensor]]
Sizes = list[tuple[int, int]]
"""Height and width of each image, without its padding."""
Found = dict[str, Tensor]
"""boxes (M, 4) in pixels of the image as it was served, scores (M,), labels (M,) from 0."""


class Said(NamedTuple):
    """What heads say of a training batch.

    losses: by name.
    scores: (N, K) logits of the classes, float32, at N places.
    places: of each image the boxes (M, 4) that were classified; None where that was every anchor, the
        same of all images of one size.
    """

    losses: Losses
    scores: Tensor
    places: list[Tensor] | None


class OneStage(nn.Module):
    """RetinaNet's or FCOS's heads: every anchor of every level is classified and moved.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, https://arxiv.org/abs/1708.02002;
    Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019,
    https://arxiv.org/abs/1904.01355.

    strides: of the levels. stages, large: of no use here.
    """

    exclusive = False
    """Each class is a decision of its own."""

    def __init__(
        self,
        kind: type[nn.Module],
        classes: int,
        width: int,
        strides: list[int],
        stages: int,
        large: bool,
    ):
        super().__init__()
        if kind is FCOS:
            sizes, ratios = tuple((stride,) for stride in strides), (1.0,)
        else:
            octaves = [2 ** (third / 3) for third in range(3)]
            sizes = tuple(tuple(4 * stride * each for each in octaves) for stride in strides)
            ratios = (0.5, 1.0, 2.0)
        anchors = AnchorGenerator(sizes, (ratios,) * len(strides))
        self.net: Any = kind(_Below(width), classes, anchor_generator=anchors)

    @property
    def grid(self) -> tuple[Any, ...]:
        """What tells the anchors of two networks apart."""
        return self.net.anchor_generator.sizes, self.net.anchor_generator.aspect_ratios

    def forward(self, levels: list[Tensor], images: Tensor, sizes: Sizes) -> list[Found]:
        """What is found in images (B, 3, H, W)."""
        answers = self._answers(levels)
        if images.is_meta:
            return []
        counts = self._counts(levels)
        split = {name: list(answer.split(counts, 1)) for name, answer in answers.items()}
        anchors = [list(each.split(counts)) for each in self._anchors(levels, images)]
        return self.net.postprocess_detections(split, anchors, sizes)

    def every(self, levels: list[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """What is said at every anchor, before suppression: boxes (B, N, 4), scores (B, N, K)."""
        answers, (anchors,) = self._answers(levels), self._anchors(levels, images[:1])
        scores, offsets = answers["cls_logits"].sigmoid(), answers["bbox_regression"]
        if isinstance(self.net, FCOS):
            scores = (scores * answers["bbox_ctrness"].sigmoid()).sqrt()
            boxes = self.net.box_coder.decode(offsets, anchors.expand_as(offsets))
        else:
            boxes = self.net.box_coder.decode_single(
                offsets.flatten(0, 1), anchors.expand_as(offsets).flatten(0, 1)
            ).view_as(offsets)
        high, wide = images.shape[-2:]
        edges = boxes.new_tensor([wide, high, wide, high])
        return torch.minimum(boxes.clamp_min(0), edges), scores

    def say(self, levels: list[Tensor], images: Tensor, sizes: Sizes, targets: Targets) -> Said:
        """Losses and scores of a training batch."""
        answers = self._answers(levels)
        scores = answers["cls_logits"].flatten(0, 1)
        if images.is_meta:
            made = {ONE_STAGE[name]: answer for name, answer in answers.items()}
            return Said(_counted(made, targets), scores, None)
        counts = [self._counts(levels)] if isinstance(self.net, FCOS) else []
        anchors = self._anchors(levels, images)
        found = self.net.compute_loss(targets, answers, anchors, *counts)
        return Said({ONE_STAGE[name]: loss for name, loss in found.items()}, scores, None)

    def scores(self, levels: list[Tensor], sizes: Sizes, places: list[Tensor] | None) -> Tensor:
        """(N, K) logits of the classes at every anchor."""
        return self._answers(levels)["cls_logits"].flatten(0, 1)

    def _answers(self, levels: list[Tensor]) -> dict[str, Tensor]:
        return {name: answer.float() for name, answer in self.net.head(levels).items()}

    def _anchors(self, levels: list[Tensor], images: Tensor) -> list[Tensor]:
        return self.net.anchor_generator(*_grids(levels, images))

    def _counts(self, levels: list[Tensor]) -> list[int]:
        """Anchors of each level."""
        each = self.net.anchor_generator.num_anchors_per_location()
        return [number * level[0, 0].numel() for number, level in zip(each, levels)]


class TwoStage(nn.Module):
    """Faster or Mask R-CNN's heads: some boxes are proposed, and these classified and moved.

    Ren et al., "Faster R-CNN", NeurIPS 2015, https://arxiv.org/abs/1506.01497, on a pyramid; He et
    al., "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870. Hidden layers are four times as
    wide as the pyramid, 1,024 for its usual 256.

    strides: of the levels; stages: how many of them are of the network's stages, and are pooled from.
    large: whether images are as large as published ones: anchors then have 8 times their level's stride
        as side, and 512 boxes of each image are sampled; else 4 times, and 128.
    """

    exclusive = True
    """One class of all, or the ground, which stands first among the logits."""

    def __init__(
        self,
        kind: type[nn.Module],
        classes: int,
        width: int,
        strides: list[int],
        stages: int,
        large: bool,
    ):
        super().__init__()
        names = [str(place) for place in range(stages)]
        anchors = AnchorGenerator(
            tuple(((8 if large else 4) * stride,) for stride in strides),
            ((0.5, 1.0, 2.0),) * len(strides),
        )
        given: dict[str, Any] = {
            "rpn_anchor_generator": anchors,
            "box_roi_pool": MultiScaleRoIAlign(names, 7, 2),
            "box_head": TwoMLPHead(width * 7**2, 4 * width),
            "box_predictor": FastRCNNPredictor(4 * width, classes + 1),
            "box_batch_size_per_image": 512 if large else 128,
        }
        if kind is MaskRCNN:
            given |= {
                "mask_roi_pool": MultiScaleRoIAlign(names, 14, 2),
                "mask_head": MaskRCNNHeads(width, (width,) * 4, 1),
                "mask_predictor": MaskRCNNPredictor(width, width, classes + 1),
            }
        self.net: Any = kind(_Below(width), **given)

    @property
    def grid(self) -> tuple[Any, ...]:
        """Of any two networks the same: one may be asked for what the other proposes."""
        return ()

    def forward(self, levels: list[Tensor], images: Tensor, sizes: Sizes) -> list[Found]:
        """What is found in images (B, 3, H, W)."""
        named, heads = _named(levels), self.net.roi_heads
        proposals, *_ = self._propose(levels, images, sizes)
        logits, deltas = self._classified(named, proposals, sizes)
        if images.is_meta:
            return []
        found = heads.postprocess_detections(logits, deltas, proposals, sizes)
        return [{"boxes": b, "scores": s, "labels": k - 1} for b, s, k in zip(*found)]

    def say(self, levels: list[Tensor], images: Tensor, sizes: Sizes, targets: Targets) -> Said:
        """Losses and scores of a training batch, of as many proposals as are sampled."""
        rpn, heads, named = self.net.rpn, self.net.roi_heads, _named(levels)
        targets = [{**t, "labels": t["labels"] + 1} for t in targets]
        proposals, anchors, objectness, offsets = self._propose(levels, images, sizes)
        if images.is_meta:
            made = {"objectness": objectness, "rpn_box": offsets}
            made["class"], made["box"] = self._classified(named, proposals, sizes)
            if heads.has_mask():
                positive = heads.fg_bg_sampler.positive_fraction
                some = [boxes[: round(positive * len(boxes))] for boxes in proposals]
                made["mask"] = self._masks(named, some, sizes)
            return Said(_counted(made, targets), made["class"], proposals)
        wanted, boxes = rpn.assign_targets_to_anchors(anchors, targets)
        moved = rpn.box_coder.encode(boxes, anchors)
        first, second = rpn.compute_loss(objectness, offsets, wanted, moved)
        losses = {"objectness": first, "rpn_box": second}
        chosen, matched, labels, moved = heads.select_training_samples(proposals, targets)
        logits, deltas = self._classified(named, chosen, sizes)
        losses["class"], losses["box"] = fastrcnn_loss(logits, deltas, labels, moved)
        if heads.has_mask():
            positive = [torch.where(label > 0)[0] for label in labels]
            inside = [boxes[rows] for boxes, rows in zip(chosen, positive)]
            losses["mask"] = maskrcnn_loss(
                self._masks(named, inside, sizes),
                inside,
                [t["masks"] for t in targets],
                [t["labels"] for t in targets],
                [rows[kept] for rows, kept in zip(matched, positive)],
            )
        return Said(losses, logits, chosen)

    def scores(self, levels: list[Tensor], sizes: Sizes, places: list[Tensor] | None) -> Tensor:
        """(N, K + 1) logits of the ground and the classes at the places."""
        assert places is not None
        return self._classified(_named(levels), places, sizes)[0]

    def _propose(
        self, levels: list[Tensor], images: Tensor, sizes: Sizes
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """The proposals of each image, the anchors of each, and what is said of those.

        On the meta device, where nothing can be chosen, as many as are kept at most.
        """
        rpn = self.net.rpn
        told = rpn.head(levels)
        counts = [each[0].numel() for each in told[0]]
        objectness, offsets = (each.float() for each in concat_box_prediction_layers(*told))
        if images.is_meta:
            training = self.net.roi_heads.fg_bg_sampler.batch_size_per_image
            most = min(sum(counts), training if self.training else rpn.post_nms_top_n())
            return [images.new_zeros(most, 4) for _ in images], [], objectness, offsets
        anchors = rpn.anchor_generator(*_grids(levels, images))
        boxes = rpn.box_coder.decode(offsets.detach(), anchors).view(len(images), -1, 4)
        proposals, _ = rpn.filter_proposals(boxes, objectness, sizes, counts)
        return proposals, anchors, objectness, offsets

    def _classified(
        self, named: dict[str, Tensor], places: list[Tensor], sizes: Sizes
    ) -> tuple[Tensor, Tensor]:
        """Logits and offsets of the boxes at the places."""
        heads = self.net.roi_heads
        pooled = _pooled(heads.box_roi_pool, named, places, sizes)
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return logits.float(), deltas.float()

    def _masks(self, named: dict[str, Tensor], places: list[Tensor], sizes: Sizes) -> Tensor:
        heads = self.net.roi_heads
        pooled = _pooled(heads.mask_roi_pool, named, places, sizes)
        return heads.mask_predictor(heads.mask_head(pooled)).float()


ONE_STAGE = {
    "classification": "class",
    "cls_logits": "class",
    "bbox_regression": "box",
    "bbox_ctrness": "centerness",
}
"""Our names of what torchvision's one-stage heads give, and of their losses."""
HEADS: dict[str, tuple[Any, type[nn.Module]]] = {
    "fasterrcnn": (TwoStage, FasterRCNN),
    "fcos": (OneStage, FCOS),
    "maskrcnn": (TwoStage, MaskRCNN),
    "retinanet": (OneStage, RetinaNet),
}
"""The detectors by name: how they look, and torchvision's class."""


class _Below(nn.Module):
    """What torchvision's detectors want to know of the network below them."""

    def __init__(self, width: int):
        super().__init__()
        self.out_channels = width


def _named(levels: list[Tensor]) -> dict[str, Tensor]:
    return {str(place): level for place, level in enumerate(levels)}


def _pooled(
    pool: MultiScaleRoIAlign, named: dict[str, Tensor], places: list[Tensor], sizes: Sizes
) -> Tensor:
    """What the levels hold at the places; on the meta device something of that shape, made of them."""
    if not named["0"].is_meta:
        return pool(named, places, sizes)
    levels = [named[name] for name in pool.featmap_names]
    made = torch.stack([level.mean() for level in levels]).sum()
    return made.expand(sum(map(len, places)), levels[0].shape[1], *pool.output_size)


def _counted(made: dict[str, Tensor], targets: Targets) -> Losses:
    """Losses for the meta device, where nothing is chosen: made of all that the real ones are made of."""
    known = torch.stack([t["boxes"].sum() + t["labels"].sum() for t in targets]).sum()
    return {name: value.mean() + known for name, value in made.items()}


def _grids(levels: list[Tensor], images: Tensor) -> tuple[ImageList, list[Tensor]]:
    """What torchvision makes anchors of: the padded images, and cells of each level, float32."""
    sizes = [(images.shape[-2], images.shape[-1]) for _ in images]
    return ImageList(images, sizes), [images.new_empty(level.shape[-2:]) for level in levels]
