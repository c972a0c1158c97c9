"""What a segmenter is worth, as name → value: of every image at its own size."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from cohobate.core import VOID, Batch

TOLERANCE = 0.0075
"""How far a boundary may be off and still be found, as a share of the image's diagonal."""
OVERLAP = 1 / 3
"""The share of a window that the next one covers again, unless a stride is given."""


def segmentation(
    model: nn.Module,
    batches: Iterable[Batch],
    autocast: AbstractContextManager[Any] | None = None,
    overlaps: Tensor | None = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> dict[str, float]:
    """Scores of a segmenter on the images of all processes together, void pixels aside.

    miou: the mean over classes of the intersection of prediction and truth over their union, counted
    over all images; classes that stand in neither are left out. accuracy: the share of pixels that
    are right. iou/K: of class K. boundary_f: the mean over images and the classes in their truth that
    meet others of the harmonic mean of precision and recall of the boundary, Csurka et al., BMVC
    2013, within 0.75 % of the diagonal; left out where no two classes meet in any image.

    batches: one image each, at its own size. The network sees it with `model.size` as its short side,
        and its answer is brought back to the image's size.
    overlaps: (N, 2, C) int, one row for each image of the split; where this process sees the image,
        the pixels of each class that are right, and those of it in either mask, are written there.
    window: show the image by squares of so many pixels, in the place of the whole; they begin
        `stride` pixels apart, by default two thirds of one. flip: take the mean with the answer to
        the mirror image. scales: and over these multiples of `model.size`.
    """
    classes = model.num_classes
    assert isinstance(classes, int)
    device = next(model.parameters()).device
    confusion = MulticlassConfusionMatrix(classes, ignore_index=VOID).to(device)
    outline = MeanMetric(nan_strategy="ignore").to(device)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast or nullcontext():
        for batch in batches:
            found = predict(
                model, batch.images, window=window, stride=stride, flip=flip, scales=scales
            )
            label = found.argmax(1)
            confusion.update(label, batch.targets)
            if overlaps is not None:
                overlaps[batch.ids] = overlap(label[0], batch.targets[0], classes).to(
                    overlaps.dtype
                )
            outline.update(boundary_f(label[0], batch.targets[0], classes))
    model.train(was_training)
    counts = confusion.compute().double()
    hits = counts.diag()
    union = counts.sum(0) + counts.sum(1) - hits
    iou = hits / union  # not a number where a class is neither there nor predicted
    outlined = float(outline.compute())
    return {
        "miou": float(iou.nanmean()),
        "accuracy": float(hits.sum() / counts.sum()),
        **({"boundary_f": outlined} if outlined == outlined else {}),
        **{f"iou/{place}": float(value) for place, value in enumerate(iou) if value == value},
    }


def predict(
    model: Any,
    images: Tensor,
    *,
    window: int | None = None,
    stride: int | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Tensor:
    """Probabilities (B, C, H, W), float32, of images (B, 3, H, W) in [0, 1]; the rest as above."""
    size = images.shape[-2:]
    total = torch.zeros((), device=images.device)
    for scale in scales:
        short = max(1, round(scale * model.size))
        factor = short / min(size)
        shape = [max(1, round(factor * side)) for side in size]
        seen = F.interpolate(images, shape, mode="bilinear", antialias=True)
        for mirrored in (False, True) if flip else (False,):
            shown = seen.flip(-1) if mirrored else seen
            logits = _windows(model, shown, window, stride) if window else model(shown)
            logits = logits.flip(-1) if mirrored else logits
            total = total + F.interpolate(logits.float(), size, mode="bilinear").softmax(1)
    return total / (len(scales) * (1 + flip))


def overlap(label: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Of masks (H, W), the pixels (2, C) of each class in both, and in either; void ones aside."""
    known = truth != VOID
    both = label[known & (label == truth)]
    common, said, true = (
        each.bincount(minlength=classes) for each in (both, label[known], truth[known])
    )
    return torch.stack([common, said + true - common])


def _windows(model: Any, images: Tensor, side: int, stride: int | None) -> Tensor:
    """Logits (B, C, H, W) by squares of that side, the mean where they overlap."""
    high, wide = images.shape[-2:]
    step = stride or max(1, round(side * (1 - OVERLAP)))
    total = images.new_zeros(len(images), model.num_classes, high, wide)
    count = images.new_zeros(1, 1, high, wide)
    for top in _starts(high, side, step):
        for left in _starts(wide, side, step):
            place = (..., slice(top, top + side), slice(left, left + side))
            total[place] += model(images[place]).float()
            count[place] += 1
    return total / count


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where windows of a side begin, so that they cover a length and the last ends with it."""
    if length <= side:
        return [0]
    return [*range(0, length - side, step), length - side]


def boundary_f(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """The mean boundary F of the classes in a mask (H, W); not a number where no two of them meet.

    Two classes that void parts, as the line that is often drawn around things, meet in its middle;
    the border of a class with void is no boundary. What is predicted within the tolerance of void is
    right or does not count: the boundary may be there.
    """
    high, wide = truth.shape
    radius = max(1, round(TOLERANCE * (high**2 + wide**2) ** 0.5))
    edges, true_edges = (
        _edges(F.one_hot(labels.clamp_max(classes), classes + 1).movedim(-1, 0)[:classes].float())
        for labels in (predicted, _filled(truth))
    )
    hits = edges * _grown(true_edges, radius)
    strays = (edges - hits) * (1 - _grown((truth == VOID)[None].float(), radius))
    right, found, true = (
        each.sum((1, 2)) for each in (hits, true_edges * _grown(edges, radius), true_edges)
    )
    precision = right / (right + strays.sum((1, 2))).clamp_min(1)
    recall = found / true.clamp_min(1)
    score = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
    return score.sum() / (true > 0).sum()


def _filled(mask: Tensor) -> Tensor:
    """A mask (H, W) with the class of the nearest pixel that has one in the place of void."""
    void = mask == VOID
    if not void.any() or void.all():
        return mask
    nearest = ndimage.distance_transform_edt(
        void.cpu().numpy(), return_distances=False, return_indices=True
    )
    rows, columns = torch.as_tensor(nearest, device=mask.device).long()
    return mask[rows, columns]


def _edges(regions: Tensor) -> Tensor:
    """Of regions (C, H, W) of ones, the pixels with a neighbour outside, within the picture."""
    inside = -F.max_pool2d(-regions[None], 3, 1, 1)[0]  # padding counts as inside
    return regions * (1 - inside)


def _grown(regions: Tensor, radius: int) -> Tensor:
    """Regions (C, H, W) with all within a square of that radius."""
    return F.max_pool2d(regions[None], 2 * radius + 1, 1, radius)[0]
