"""What a detector is worth, as name → value: by its boxes, in the pixels of the files."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from cohobate.core import Batch
from cohobate.distributed import gather_objects

Array = NDArray[np.float64]

OVERLAP = 0.5
"""Intersection over union from which VOC takes a box for that of a thing."""
IGNORED = -2
"""In the place of a truth: of a crowd, which is neither found nor missed."""


class Seen(NamedTuple):
    """An image, by the boxes that are in it and those that a detector found, in pixels of its file.

    id: its position in the split. size: its height and width.
    boxes: (n, 4) left, top, right, bottom. labels: (n,). area: (n,). crowd: (n,) bool.
    found: (m, 4), scores: (m,) and kinds: (m,), their classes, by falling score.
    """

    id: int
    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    area: Tensor
    crowd: Tensor
    found: Tensor
    scores: Tensor
    kinds: Tensor


def detection(
    model: Any,
    batches: Iterable[Batch],
    autocast: AbstractContextManager[Any] | None = None,
    right: Tensor | None = None,
) -> dict[str, float]:
    """Scores of a detector on the images of all processes together, as shares of 1.

    map: COCO's average precision, the mean over classes and over overlaps of 0.5, 0.55 to 0.95, of at
    most 100 boxes an image. map50, map75: at these overlaps alone. map_small, map_medium, map_large:
    of things of below 32², below 96² and more pixels. ap/K: of class K. voc_map: the mean over
    classes of the area below precision over recall at an overlap of 0.5, as VOC has it from 2010 on;
    voc07_map: of the mean at 11 points of recall, as it had it in 2007. Classes and sizes of which
    there is nothing are left out; where there is no box at all, `map` and its like are zero.

    right: left as it is: of an image as a whole, no answer is right or wrong.
    """
    return scores(seen(model, batches, autocast), model.num_classes)


def seen(
    model: Any, batches: Iterable[Batch], autocast: AbstractContextManager[Any] | None = None
) -> list[Seen]:
    """What a detector finds in the images of all processes together, in the order of their ids."""
    was_training, mine = model.training, list[Seen]()
    model.eval()
    with torch.inference_mode(), autocast or nullcontext():
        for batch in batches:
            mine += look(model, batch)
    model.train(was_training)
    every = {image.id: image for part in gather_objects(mine) for image in part}
    return [every[key] for key in sorted(every)]


def look(model: Any, batch: Batch) -> list[Seen]:
    """What a detector in eval mode finds in the images of a batch."""
    sizes = torch.stack([target["size"] for target in batch.targets])
    found = model.detect(batch.images, sizes)
    return [*map(_seen, batch.ids.tolist(), batch.targets, found)]


def _seen(place: int, target: dict[str, Tensor], found: dict[str, Tensor]) -> Seen:
    scale = (target["original"] / target["size"]).flip(0).repeat(2).cpu()
    order = found["scores"].argsort(descending=True, stable=True)
    ordered = {key: value[order].cpu() for key, value in found.items()}
    high, wide = target["original"].tolist()
    return Seen(
        id=place,
        size=(high, wide),
        boxes=target["boxes"].cpu() * scale,
        labels=target["labels"].cpu(),
        area=target["area"].cpu(),
        crowd=target["crowd"].cpu(),
        found=ordered["boxes"].float() * scale,
        scores=ordered["scores"].float(),
        kinds=ordered["labels"],
    )


def scores(images: Sequence[Seen], classes: int) -> dict[str, float]:
    """What `detection` says, of images that were seen already."""
    precision = _precision(images, classes)
    whole = precision[..., 0]
    sizes = dict(zip(("map_small", "map_medium", "map_large"), np.moveaxis(precision, -1, 0)[1:]))
    each = {f"ap/{kind}": whole[..., kind] for kind in range(classes)}
    return {
        "map": _mean(whole),
        "map50": _mean(whole[0]),
        "map75": _mean(whole[5]),
        **{name: _mean(part) for name, part in {**sizes, **each}.items() if (part >= 0).any()},
        **_voc(images),
    }


def curves(images: Sequence[Seen], classes: int) -> Array:
    """Precision (classes, 101) at recall 0, 0.01 to 1 and an overlap of 0.5, as COCO interpolates it.

    Not a number where there is nothing of a class.
    """
    whole = _precision(images, classes)[0, :, :, 0].T
    return np.where(whole < 0, np.nan, whole)


def _mean(precision: Array) -> float:
    """Over what there is something of; COCO marks the rest with −1."""
    there = precision[precision >= 0]
    return float(there.mean()) if there.size else 0.0


def _precision(images: Sequence[Seen], classes: int) -> Array:
    """COCO's precision (10 overlaps, 101 recalls, classes, sizes); the first size is any."""
    truths, found = list[dict[str, Any]](), list[dict[str, Any]]()
    for image in images:
        boxes = box_convert(image.boxes, "xyxy", "xywh").tolist()
        rows = zip(boxes, image.labels.tolist(), image.area.tolist(), image.crowd.tolist())
        for box, label, area, crowd in rows:
            facts = {"bbox": box, "area": area, "iscrowd": int(crowd), "image_id": image.id}
            truths.append({"id": len(truths) + 1, "category_id": label, **facts})
        boxes = box_convert(image.found, "xyxy", "xywh").tolist()
        for box, kind, score in zip(boxes, image.kinds.tolist(), image.scores.tolist()):
            facts = {"bbox": box, "score": score, "image_id": image.id}
            found.append({"category_id": kind, **facts})
    named = [{"id": image.id, "height": image.size[0], "width": image.size[1]} for image in images]
    kinds = [{"id": kind, "name": str(kind)} for kind in range(classes)]
    truth = COCO({"images": named, "annotations": truths, "categories": kinds})
    evaluation = COCOeval_faster(truth, truth.loadRes(found), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"], dtype=np.float64)[..., -1]


def matches(image: Seen, overlap: float = OVERLAP) -> Tensor:
    """Which truth each box found is of, (m,), as VOC has it: −1 for none, `IGNORED` for a crowd.

    Each box found is held against the truth of its class that it covers best; of several for the same
    truth, that of the highest score has it, and the others are false.
    """
    matched = torch.full((len(image.found),), -1)
    if not len(image.boxes):
        return matched
    same = image.kinds[:, None] == image.labels
    best, truth = (box_iou(image.found, image.boxes) * same).max(1)
    taken = set[int]()
    for place in (best >= overlap).nonzero().flatten().tolist():
        chosen = int(truth[place])
        if image.crowd[chosen]:
            matched[place] = IGNORED
        elif chosen not in taken:
            matched[place] = chosen
            taken.add(chosen)
    return matched


def _voc(images: Sequence[Seen]) -> dict[str, float]:
    """Both of VOC's scores."""
    nothing = torch.zeros(0)
    matched = torch.cat([nothing, *(matches(image) for image in images)])
    score = torch.cat([nothing, *(image.scores for image in images)])
    kinds = torch.cat([nothing, *(image.kinds for image in images)])
    wanted = torch.cat([nothing, *(image.labels[~image.crowd] for image in images)])
    areas, points = list[float](), list[float]()
    for kind in wanted.unique().tolist():
        own = (kinds == kind) & (matched != IGNORED)
        right = (matched[own] >= 0)[score[own].argsort(descending=True, stable=True)].double()
        recall = right.cumsum(0) / (wanted == kind).sum()
        precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
        best = precision.flip(0).cummax(0).values.flip(0)  # at that recall or a higher one
        areas.append(float((best * recall.diff(prepend=torch.zeros(1))).sum()))
        reached = [best[recall >= point / 10] for point in range(11)]
        points.append(sum(float(rest[0]) for rest in reached if len(rest)) / 11)
    count = max(len(areas), 1)
    return {"voc_map": sum(areas) / count, "voc07_map": sum(points) / count}
