"""The stages of a network, and its maps before the last ReLU of each where it offers them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cohobate.models import Classifier, Stage, Trace
from cohobate.models.cifar import Chain
from cohobate.modules.distance import margin


def check_stages(model: Classifier, least: int = 2) -> None:
    """Raises ValueError where timm can tap fewer than so many stages of a network."""
    if (count := len(model.stages)) < least:
        raise ValueError(
            f"model {model.name!r} has {count} {'stage' if count == 1 else 'stages'} that timm"
            f" can tap, and this method needs {least} or more: choose another network (`cohobate"
            " models NAME` prints the stages of one)"
        )


def before_activation(model: Classifier, images: Tensor) -> Trace:
    """`model.trace(images)`, each map before its stage's last ReLU; as it is tapped elsewhere."""
    if not isinstance(model.net, Chain):
        return model.trace(images)
    final, maps = model.net.forward_intermediates(
        model.normalise(images), [stage.tap for stage in model.stages], pre_activation=True
    )
    embedding = model.net.forward_head(final, pre_logits=True).flatten(1)
    return Trace(model.net.forward_head(final).float(), embedding, list(maps))


def tapped(model: Classifier) -> str:
    """Where `before_activation` reads a network, in words."""
    raw = all(_ends_in_relu(model, stage) for stage in model.stages)
    return "before the last ReLU of each stage" if raw else "as they are tapped"


def _ends_in_relu(model: Classifier, stage: Stage) -> bool:
    """Whether a stage can stop short of its last ReLU, as those of the `cifar_` networks can."""
    return hasattr(model.net.get_submodule(stage.module), "before_activation")


class Margins(nn.Module):
    """The mean of what is negative in each channel of a teacher's maps, stage by stage.

    Where a stage that is read before its ReLU ends in a batch norm (its shortcut's apart, as in the
    overhaul's code), it is that of the norm's Gaussian; elsewhere it is measured in every batch.
    """

    def __init__(self, model: Classifier, stages: Sequence[Stage]):
        super().__init__()
        self.known = [f"margin{place}" for place, _ in enumerate(stages)]
        norms = [last_norm(model, stage) for stage in stages]
        for name, norm in zip(self.known, norms):
            self.register_buffer(name, None if norm is None else margin(norm))
        count = sum(norm is not None for norm in norms)
        self.note = (
            f"margins: {count} from batch norms, {len(norms) - count} measured in each batch"
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Each (C, 1, 1), of maps (B, C, H, W); without gradient."""
        known = (getattr(self, name) for name in self.known)
        return [measured(f) if value is None else value for value, f in zip(known, maps)]


def last_norm(model: Classifier, stage: Stage) -> nn.BatchNorm2d | None:
    """The batch norm that a stage ends in, before its ReLU; None where there is none."""
    if not _ends_in_relu(model, stage):
        return None
    parts = model.net.get_submodule(stage.module).named_modules()
    *_, last = (part for name, part in parts if "shortcut" not in name and _has_weights(part))
    whole = isinstance(last, nn.BatchNorm2d) and last.num_features == stage.channels
    return last if whole else None


def _has_weights(part: nn.Module) -> bool:
    return next(part.parameters(recurse=False), None) is not None


@torch.no_grad()
def measured(maps: Tensor) -> Tensor:
    """The mean (C, 1, 1) of the negative numbers of each channel of (B, C, H, W); 0 of none."""
    negative = maps.float().clamp_max(0)
    count = (maps < 0).sum((0, 2, 3)).clamp_min(1)
    return (negative.sum((0, 2, 3)) / count)[:, None, None]
