"""The types that every other module speaks: `Batch` in, `Losses` out, `Method` in between."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, get_type_hints

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

Losses = dict[str, Tensor]
"""Named scalar losses, already weighted. Training minimises their sum."""

Positive = Annotated[float, Gt(0)]
"""An option that must be above zero, such as a temperature."""
Weight = Annotated[float, Ge(0)]
"""The weight of a loss term: zero or more."""
Share = Annotated[float, Ge(0), Le(1)]
"""A fraction of a whole."""
Count = Annotated[int, Ge(1)]
"""How many of something: one or more."""
Epochs = Annotated[float, Ge(0), "in epochs"]
"""A part of the training, which changes with its length where runs are made to cost the same."""


def unknown(what: str, value: str, choices: Iterable[str], *, listing: str = "") -> ValueError:
    """The error for a name that is not among `choices`: says the nearest, and where all stand.

    listing: the command that lists the choices; without it they are named in the sentence.
    """
    names = sorted(choices)
    nearest = get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    where = f"`{listing}` lists them" if listing else f"choose from {', '.join(names)}"
    return ValueError(f"unknown {what} {value!r}: {hint}{where}")


def counted(number: int, what: str) -> str:
    """`1 image`, `2 images`; `classes` and `boxes` where `what` ends in an s or an x."""
    plural = f"{what}es" if what.endswith(("s", "x")) else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def require(setting: str, extra: str, packages: Iterable[str]) -> None:
    """Raises ValueError where a package that a setting needs, of an extra of ours, is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise ValueError(
                f"{setting} needs the package {package}, which is not installed: pip install"
                f" 'cohobate[{extra}]'"
            )


def cores() -> int:
    """The processor cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left: PyTorch has no one type for that."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "Storage size calculation" in str(error)


VOID = 255
"""The number that stands in a mask where a pixel is of no class, and is neither taught nor scored."""


class Mixture(NamedTuple):
    """Who is mixed with whom, and how much: numbers alone, drawn outside the compiled graph.

    partner: (B,) row that each row is mixed with.
    weight: (B,) share of the row itself; 1 means not mixed.
    mask: (B, 1, H, W), 1 where the row itself is kept, for CutMix and its kin;
        `weight` is then the mask's true mean.
    box: (B, 4) left, top, width and height, in shares of the image, of what the mask cuts out, for
        ResizeMix: the whole partner is shown in there, made smaller.
    layer: (B,) the layer of the network that is mixed, for manifold mixup; 0 is the images.
    """

    partner: Tensor
    weight: Tensor
    mask: Tensor | None = None
    box: Tensor | None = None
    layer: Tensor | None = None

    def blend(self, value: Tensor) -> Tensor:
        """The same mixture of any per-row value (B, ...).

        Maps (B, ..., H, W) are cut along the mask, resized to H × W, where there is one;
        anything else is averaged with `weight`.
        """
        share = self.weight.reshape(-1, *[1] * (value.ndim - 1))
        other = value[self.partner]
        if self.mask is not None and value.ndim >= 4:
            mask = self.mask
            if mask.shape[-2:] != value.shape[-2:]:
                mask = F.interpolate(mask, size=value.shape[-2:], mode="area")
            share = mask.reshape(len(mask), *[1] * (value.ndim - 3), *mask.shape[-2:])
            if self.box is not None:
                other = shrunk(other, self.box)
        return share * value + (1 - share) * other


def shrunk(maps: Tensor, box: Tensor) -> Tensor:
    """Maps (B, ..., H, W), each made smaller to fit its box, and black around that.

    box: (B, 4) left, top, width and height, in shares of the map. A cell shows the mean of what the
    part of it that lies in the box covers of the map.
    """
    left, top, width, height = box.unbind(1)
    down, across = maps.shape[-2:]
    rows, columns = _shown(down, top, height)[:, None], _shown(across, left, width)[:, None]
    return (rows @ maps.flatten(1, -3) @ columns.transpose(-1, -2)).view(maps.shape)


def _shown(size: int, start: Tensor, length: Tensor) -> Tensor:
    """What each cell of a line shows of each cell of its smaller copy, (B, size, size) shares.

    start, length: (B,) of the copy, in shares of the line. Cells outside it show nothing.
    """
    edge = torch.arange(size + 1, device=start.device) / size
    inner = ((edge - start[:, None]) / length[:, None].clamp_min(1e-6)).clamp(0, 1)
    first, last = inner[:, :-1, None], inner[:, 1:, None]  # what the cell covers of the copy
    common = (last.minimum(edge[1:]) - first.maximum(edge[:-1])).clamp_min(0)
    return common / (last - first).clamp_min(1e-6)


class Batch(NamedTuple):
    """One training step's data.

    images: (B, 3, H, W) in [0, 1], never mixed; (B, V, 3, H, W) when the method asks for V > 1 views.
    targets: (B,) class indices; (B, H, W) for segmentation; B dicts for detection.
    ids: (B,) position of each image in the training set.
    mix: how `inputs` and `labels` are mixed, if they are.
    taught: (B, C) what a frozen teacher says of `inputs`, where that is known already: its logits, up
        to a constant in each row.

    With k companions the batch holds (k + 1) * B rows: the B anchors, then the first companion of
    every anchor, then the second, and so on.
    """

    images: Tensor
    targets: Any
    ids: Tensor
    mix: Mixture | None = None
    taught: Tensor | None = None

    @property
    def inputs(self) -> Tensor:
        """`images`, mixed where `mix` says so."""
        return self.images if self.mix is None else self.mix.blend(self.images)

    def labels(self, num_classes: int) -> Tensor:
        """Soft targets (B, num_classes), mixed like `inputs`; of masks, (B, num_classes, H, W).

        Void pixels are zero in all classes, and the others weigh the more: a mean over all pixels of
        what is linear in the label, as a cross-entropy is, is that over the known ones.
        """
        if self.targets.ndim > 1:
            label = _pixel_labels(self.targets, num_classes)
        else:
            label = F.one_hot(self.targets, num_classes).float()
        return label if self.mix is None else self.mix.blend(label)

    def over_labels(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean of a loss that wants class indices (B,) and gives one number a row (B,).

        A row that is mixed has two classes, and the loss with each counts by its share: of the
        cross-entropy, that is the cross-entropy with `labels`.
        """
        rows = loss(self.targets)
        if self.mix is not None:
            partner, weight = self.mix.partner, self.mix.weight
            rows = weight * rows + (1 - weight) * loss(self.targets[partner])
        return rows.mean()


def _pixel_labels(masks: Tensor, num_classes: int) -> Tensor:
    """Of masks (B, H, W), what `Batch.labels` gives of images that are not mixed."""
    known = masks != VOID
    label = F.one_hot(masks.where(known, 0), num_classes).movedim(-1, 1)
    return label * (known / known.float().mean().clamp_min(1 / known.numel()))[:, None]


class Progress(NamedTuple):
    """Where training stands, counted from zero. A step is an optimiser step.

    The engine passes `epoch` and `step` as 0-d tensors on the device, so that a compiled method is
    not compiled anew when they change; write schedules as tensor arithmetic.
    """

    epoch: Tensor | int
    epochs: int
    step: Tensor | int
    steps: int


class Mixing(Protocol):
    """A way to draw mixtures, such as `cohobate.modules.mixing.Mixup`."""

    def draw(
        self, images: Tensor, *, blocks: int = 1, generator: torch.Generator | None = None
    ) -> Mixture:
        """A mixture of the rows of `images` (B, ..., H, W).

        blocks: the rows are that many equal blocks (anchors, first companions, ...), and every
            block is mixed in the same way within itself.
        generator: a generator on the CPU; the global one where it is left out.
        """
        ...


M = TypeVar("M", bound=nn.Module)


class Method(nn.Module, ABC, Generic[M]):
    """A way to train a model: the modules it adds, and the losses of one batch.

    Whatever must survive a restart (heads, teachers, peers, memories) is a sub-module or a buffer,
    so that `state_dict` is the whole state. Hyper-parameters are keyword-only arguments.
    """

    model: M
    tasks: tuple[str, ...] = ("classification",)
    """The tasks whose networks it can train."""
    views: int = 1
    """Augmented views wanted of each image."""
    distort: tuple[str, ...] = ()
    """The augmentations that make the other views of the first one; else each is of the image."""
    companions: int = 0
    """Images of the same class wanted with each image."""
    min_batch_size: int = 1
    """Anchors that a process's batch needs, so that no term is zero whatever the network says."""
    repeats: bool = False
    """Whether the first half of every batch is the second half of the batch before, once more."""
    mixes: bool = False
    """Whether it owns its mixing: `mix` is then set by it, as its options say."""
    mix: Mixing | None = None
    """The mixing that this method owns; else the run file's [mix] applies."""
    kept_by: str = ""
    """The option, if there is one, that keeps the network as it is: a run then needs a trained one."""
    recalls: Literal["nothing", "top", "all"] = "nothing"
    """What a disk may say in the place of `teacher`, a `Frozen` network that is asked for `of(batch,
    …)` alone: its largest logits will do, or only those of all classes."""

    def __init__(self, model: M):
        super().__init__()
        self.model = model

    @classmethod
    def complete(cls, options: dict[str, Any]) -> dict[str, Any]:
        """All options of a run, with the defaults that hang on other options written out."""
        return options

    @classmethod
    def in_epochs(cls) -> list[str]:
        """The options that are counted in epochs, as `Epochs` marks them."""
        hints = get_type_hints(cls.__init__, include_extras=True)
        return [name for name, hint in hints.items() if hint == Epochs]

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """The named losses of one batch, each a scalar, already weighted."""

    def after_step(self, progress: Progress) -> None:
        """Called after the optimiser has stepped, e.g. to move an EMA teacher."""

    def mixed(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """`batch` with the mixture that `mix` draws for it; `batch` itself where there is none."""
        if self.mix is None:
            return batch
        blocks = self.companions + 1
        return batch._replace(mix=self.mix.draw(batch.images, blocks=blocks, generator=generator))
