"""Any timm pyramid with a decoder: a class for every pixel."""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import VOID, Batch, Count, Losses, unknown
from cohobate.models.decoders import DECODERS
from cohobate.models.pyramid import behead, features, pyramid_encoder
from cohobate.models.trace import Trace

RGB = tuple[float, float, float]


class Segmenter(nn.Module):
    """A timm network that gives a class for every pixel of raw images in [0, 1].

    arch: timm's name of a network whose stages are a pyramid, or one of the `cifar_...` networks.
    decoder: a name from `DECODERS`, which makes one map of the stages' maps.
    width: channels of the decoder; its own where left out.
    size: the short side of the images that it is trained on; others pass it as well.
    pretrained, mean, std, options: as for `Classifier`.

    `encoder.net` is the timm network itself, without its classifier, under timm's own keys.
    Raises ValueError as `Classifier` does, and for a network that the decoder cannot stand on.
    """

    compile_scope = ""
    asks: ClassVar[dict[str, Any]] = {}
    task = "segmentation"

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        decoder: str = "fpn",
        width: Count | None = None,
        size: int | None = None,
        pretrained: bool = False,
        mean: RGB | None = None,
        std: RGB | None = None,
        **options: Any,
    ):
        super().__init__()
        if decoder not in DECODERS:
            raise unknown("decoder", decoder, DECODERS)
        kind = DECODERS[decoder]
        given = {**kind.wants, **options}
        shared = {"size": size, "mean": mean, "std": std}
        self.encoder = pyramid_encoder(arch, num_classes, pretrained=pretrained, **shared, **given)
        self.stages = self.encoder.stages
        behead(self.encoder.net, self.stages)
        self.decoder: Any = kind(arch, self.stages, width)
        self.classifier = nn.Conv2d(self.decoder.channels, num_classes, 1)
        self.num_classes, self.size = num_classes, self.encoder.size
        self.pretrained_cfg = dict[str, Any]()
        self.spec = {"arch": arch, "decoder": decoder, "width": width, **shared, **options}

    @property
    def net(self) -> nn.Module:
        """All that is trained and deployed: this module itself."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W), float32, of images (B, 3, H, W) in [0, 1]."""
        return self.classified(self.decoder(self.features(images)), images)

    def trace(self, images: Tensor) -> Trace:
        """Logits (B, num_classes, H, W), the pooled last map (B, D), and the map of every stage."""
        maps = self.features(images)
        logits = self.classified(self.decoder(maps), images)
        return Trace(logits, maps[-1].mean((2, 3)), maps)

    def features(self, images: Tensor) -> list[Tensor]:
        """The map of every stage, shallow to deep; images are padded to whole cells of the last."""
        return features(self.encoder, images)

    def classified(self, maps: Tensor, images: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of a decoder's map, at the size of the images, float32."""
        return enlarged(self.classifier(maps), images, self.stages[-1].stride)

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of the pixels that are not void, with the batch's labels, mixed or not."""
        logits = self(batch.inputs)
        if batch.mix is None:
            loss = F.cross_entropy(logits, batch.targets, ignore_index=VOID, reduction="sum")
            return {"ce": loss / (batch.targets != VOID).sum().clamp_min(1)}
        return {"ce": F.cross_entropy(logits, batch.labels(self.num_classes))}

    def freeze(self, depth: int | Literal["backbone"]) -> None:
        """Keeps the first `depth` stages with all before them, or the whole encoder, as they are."""
        if depth == "backbone":
            self.encoder.hold()
        else:
            self.encoder.freeze(depth)

    def hold(self) -> None:
        """Keeps all of the network as it is, in eval mode, while what a method adds learns."""
        self.requires_grad_(False)
        self.encoder.hold()
        self.kept = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Segmenter":
        return super().train(mode and not getattr(self, "kept", False))

    def head(self) -> nn.ModuleList:
        """All that is new where the encoder is not."""
        return nn.ModuleList([self.decoder, self.classifier])

    def fresh(self, num_classes: int | None = None) -> "Segmenter":
        """The same architecture with new weights, never pretrained ones."""
        model = Segmenter(num_classes=num_classes or self.num_classes, **self.spec)
        for name in ("mean", "std"):
            model.encoder.get_buffer(name).copy_(self.encoder.get_buffer(name))
        return model

    def noise_targets(self, rows: int, size: int, generator: torch.Generator) -> Tensor:
        """Masks (rows, size, size) of random classes."""
        return torch.randint(self.num_classes, (rows, size, size), generator=generator)


def enlarged(logits: Tensor, images: Tensor, cell: int) -> Tensor:
    """Logits (B, C, h, w) of images that were padded to whole cells, at the images' size, float32."""
    high, wide = images.shape[-2:]
    padded = (high + -high % cell, wide + -wide % cell)
    logits = F.interpolate(logits.float(), size=padded, mode="bilinear")
    return logits[..., :high, :wide]
