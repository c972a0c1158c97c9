"""Any timm network as an image classifier."""

import inspect
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, ClassVar, Literal

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.core import Batch, Losses, unknown
from cohobate.models.trace import Stage, Trace, read, read_stages

RGB = tuple[float, float, float]
FOUND_OUT = ("num_classes", "in_chans")
"""Options of timm's networks that are found out from the data."""
CHAINS: dict[tuple[str, Stage], bool] = {}
"""Whether a network, by its spec, is a chain after a stage: found out once for all on the meta device."""


class Unavailable(ValueError):
    """Pretrained weights that could not be had.

    fact: which, and why; the whole sentence says besides what a run can do without them.
    """

    def __init__(self, arch: str, reason: str):
        self.fact = (
            f"the pretrained weights of {arch!r} could not be had ({reason}): check the network"
            " connection"
        )
        super().__init__(f"{self.fact}, or set model.pretrained=false")


class UnknownOption(ValueError):
    """An option that a network does not take.

    among: the same error, where what stands around the network takes options of its own.
    """

    def __init__(self, arch: str, name: str, choices: Iterable[str]):
        self.arch, self.name, self.choices = arch, name, [*choices]
        super().__init__(f"model {arch!r}: {unknown('option of [model]', name, self.choices)}")

    def among(self, others: Iterable[str]) -> "UnknownOption":
        return UnknownOption(self.arch, self.name, {*self.choices, *others})


class Classifier(nn.Module):
    """Any timm network as an image classifier that takes raw images in [0, 1].

    arch: timm's name, or one of the `cifar_...` networks.
    size: height and width of the images; handed on to networks whose size is fixed (most
        transformers). Left out, it is the network's own.
    pretrained: load timm's weights (needs a network connection or timm's cache).
    mean, std: of the channels, to normalise with; the network's own where left out.
    options: any other keyword goes to `timm.create_model`, e.g. `drop_path_rate`.

    `net` is the timm network itself: `net.state_dict()` has timm's own keys.
    Raises ValueError for an unknown network or option, `Unavailable` without the pretrained weights.
    """

    mean: Tensor
    std: Tensor
    compile_scope = ""
    asks: ClassVar[dict[str, Any]] = {}
    task = "classification"

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        size: int | None = None,
        pretrained: bool = False,
        mean: RGB | None = None,
        std: RGB | None = None,
        **options: Any,
    ):
        super().__init__()
        self.net: Any = create(arch, num_classes, size, pretrained, options)
        own = self.net.pretrained_cfg
        self.spec = {"arch": arch, "size": size, "mean": mean, "std": std, **options}
        self.num_classes = num_classes
        self.kept: list[nn.Module] = []
        self.size: int = size or options.get("img_size") or own["input_size"][-1]
        self.stages = read_stages(self.net)
        self.register_buffer("mean", torch.tensor(mean or own["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std or own["std"]).view(3, 1, 1))

    @property
    def name(self) -> str:
        """Its architecture, or the folder that it was loaded from, as people call it."""
        return str(self.spec["arch"]).removeprefix("local-dir:")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes), float32, of images (B, 3, H, W) in [0, 1]."""
        return self.net(self.normalise(images)).float()

    def trace(self, images: Tensor) -> Trace:
        """Logits, embedding and the map of every stage, of images (B, 3, H, W) in [0, 1].

        Raises ValueError where timm cannot tap the network.
        """
        if not self.stages:
            raise ValueError(
                f"model {self.spec['arch']!r} has no stages that timm can tap: choose a network"
                " of which `cohobate models NAME` prints stages"
            )
        return read(self.net, self.normalise(images), self.stages)

    def features(self, images: Tensor) -> list[Tensor]:
        """The map of every stage, shallow to deep."""
        return self.trace(images).stages

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean).div_(self.std)

    def freeze(self, depth: int | Literal["backbone"]) -> None:
        """Keeps the first `depth` stages with all before them, or all but the classifier, as they are.

        Their batch norm stays in eval mode too. Raises ValueError where there are fewer stages.
        """
        if depth == "backbone":
            heads = set(self.head().modules())
            self.kept = [m for m in self.net.modules() if not heads & set(m.modules())]
            frozen = {*self.net.parameters()} - {*self.head().parameters()}
        elif depth > len(self.stages):
            raise ValueError(
                f"model.freeze={depth}: {self.spec['arch']!r} has {len(self.stages)} stages;"
                ' choose fewer, or "backbone"'
            )
        elif depth:
            self.kept = self._leading(depth)
            frozen = {*self.net.parameters(recurse=False)}
            frozen |= {p for part in self.kept for p in part.parameters()}
        else:
            self.kept, frozen = [], set[nn.Parameter]()
        for parameter in frozen:
            parameter.requires_grad_(False)
        self.train(self.training)

    def hold(self) -> None:
        """Keeps all of the network as it is, in eval mode, while what a method adds learns."""
        self.requires_grad_(False)
        self.kept = [self.net]
        self.train(self.training)

    def _leading(self, depth: int) -> list[nn.Module]:
        """The modules of the first `depth` stages, and all before them."""
        stage, *deeper = self.stages[depth - 1 :]
        try:
            names = through(self.net, stage)
        except AttributeError:
            names = []
        if not names or stage.module in {later.module for later in deeper}:
            raise ValueError(
                f"model.freeze={depth}: in {self.spec['arch']!r} no module ends with stage {depth};"
                ' choose "backbone"'
            )
        return [self.net.get_submodule(name) for name in names]

    def head(self) -> nn.ModuleList:
        """The layers that turn the embedding into logits; some networks have several."""
        classifier = self.net.get_classifier()
        return nn.ModuleList(classifier if isinstance(classifier, tuple) else [classifier])

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        for part in self.kept:
            part.eval()
        return self

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy with the batch's labels, mixed where the batch is."""
        logits = self(batch.inputs)
        label = batch.targets if batch.mix is None else batch.labels(self.num_classes)
        return {"ce": F.cross_entropy(logits, label)}

    def fresh(self, num_classes: int | None = None) -> "Classifier":
        """The same architecture with new weights, never pretrained ones."""
        model = Classifier(num_classes=num_classes or self.num_classes, **self.spec)
        model.get_buffer("mean").copy_(self.get_buffer("mean"))
        model.get_buffer("std").copy_(self.get_buffer("std"))
        return model

    def noise_targets(self, rows: int, size: int, generator: torch.Generator) -> Tensor:
        """Random classes (rows,)."""
        return torch.randint(self.num_classes, (rows,), generator=generator)

    def tail(self, stage: Stage, num_classes: int | None = None) -> "Tail | None":
        """New copies of everything that follows `stage`, down to a classifier of its own.

        None where the network is no chain of modules from `stage` on, which is found out by
        comparing the cut network with the whole one.
        """
        if not self._is_chain_after(stage):
            return None
        return Tail(cut(self.fresh(num_classes).net, stage), self.stages[-1])

    @torch.no_grad()
    def _is_chain_after(self, stage: Stage) -> bool:
        device = self.get_buffer("mean").device
        if device.type == "meta":  # values are compared: a twin that has some does it, once
            place = (repr(self.spec), stage)
            if place not in CHAINS:
                with torch.device("cpu"):
                    twin = Classifier(num_classes=2, **self.spec)
                    CHAINS[place] = twin._is_chain_after(stage)
            return CHAINS[place]
        whole = deepcopy(self).eval()
        shape = (2, 3, self.size, self.size)
        ramp = torch.linspace(0, 1, 6 * self.size**2, device=device)
        trace = whole.trace(ramp.view(shape))
        try:
            tail = Tail(cut(whole.net, stage), self.stages[-1])
            rest = tail.trace(trace.stages[self.stages.index(stage)])
            pairs = [(rest.logits, trace.logits), (rest.stages[-1], trace.stages[-1])]
        except (RuntimeError, ValueError, AttributeError, TypeError, IndexError, AssertionError):
            return False
        return all(a.shape == b.shape and (a - b).norm() <= 1e-3 * b.norm() for a, b in pairs)


class Tail(nn.Module):
    """The last part of a network, from the output of one stage to the logits."""

    def __init__(self, net: Any, last: Stage):
        super().__init__()
        self.net = net
        self.last = last

    def trace(self, features: Tensor) -> Trace:
        """Logits, embedding and the map of the last stage, of an earlier stage's map."""
        return read(self.net, features, [self.last])


def cut(net: nn.Module, stage: Stage) -> nn.Module:
    """`net` with the identity in place of all modules up to and including `stage`."""
    for name in through(net, stage):
        net.set_submodule(name, nn.Sequential())  # an identity that can be iterated over, too
    return net


def through(net: nn.Module, stage: Stage) -> list[str]:
    """The name of each module registered up to and including that of `stage`.

    Raises AttributeError where timm names a module that is not there.
    """
    net.get_submodule(stage.module)
    names, prefix, parent = [], "", net
    for name in stage.module.split("."):
        children = [child for child, _ in parent.named_children()]
        names += [prefix + earlier for earlier in children[: children.index(name)]]
        prefix, parent = f"{prefix}{name}.", getattr(parent, name)
    return [*names, stage.module]


def create(
    arch: str, num_classes: int, size: int | None, pretrained: bool, options: dict[str, Any]
) -> nn.Module:
    """A timm network; every way to name it wrongly is a ValueError."""
    if ":" not in arch and not timm.is_model(arch):
        raise unknown("model", arch, timm.list_models(), listing="cohobate models")
    options = {"num_classes": num_classes, "pretrained": pretrained, **options}
    if size and options.get("img_size", size) != size:
        raise ValueError(
            f"model.img_size={options['img_size']} and data.size={size} differ: leave"
            " model.img_size out"
        )
    if size and fixed_size(arch) not in (None, size):
        options["img_size"] = size
    try:
        return timm.create_model(arch, **options)
    except TypeError as error:
        name = str(error).partition("unexpected keyword argument '")[2].partition("'")[0]
        if name not in options:
            raise ValueError(f"model {arch!r} cannot be built with {options}: {error}") from error
        raise UnknownOption(arch, name, options_of(arch)) from error
    except Exception as error:
        if pretrained:
            sentence = str(error).partition("\n")[0].partition(". ")[0]
            reason = sentence or type(error).__name__
            raise Unavailable(arch, reason) from error
        raise ValueError(f"model {arch!r} cannot be built with {options}: {error}") from error


def fixed_size(arch: str) -> int | None:
    """The side of the images that a network is made for, where it is for those alone, by its name."""
    config = None if ":" in arch else timm.models.get_pretrained_cfg(arch)
    return config.input_size[-1] if config and config.fixed_input_size else None


def options_of(arch: str) -> list[str]:
    """The options of a timm network that a run file can give, as far as its class tells."""
    with torch.device("meta"):
        net = timm.create_model(arch)
    return [
        parameter.name
        for kind in type(net).__mro__[:-1]
        for parameter in inspect.signature(kind).parameters.values()
        if isinstance(parameter.default, str | int | float) and parameter.name not in FOUND_OUT
    ]
