"""Teachers, found by what a run file calls them: run folders, run files, networks of timm's."""

from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cohobate import build, defaults
from cohobate import config as settings
from cohobate.config import RunConfig
from cohobate.core import Method
from cohobate.data.classification import ImageSet
from cohobate.methods import find_method, method_name
from cohobate.models import Classifier
from cohobate.tasks import TASKS
from cohobate.weights import load_network, load_timm

DESCRIBED_BY = ("config.json", "config.toml")
"""The files of a run that tell its network, and its method, but for the weights."""
TIMM = "timm:"
"""What the name of a network of timm's follows, where it is a teacher."""


def find(
    reference: str,
    data: ImageSet,
    kind: type[nn.Module] = Classifier,
    *,
    described: Path | None = None,
) -> Any:
    """The teacher that a run folder, a run file (its default folder) or timm:NAME stands for.

    kind: what is wanted: a network, or a `Method` with all that it adds to one.
    described: a folder with what `description` gave; the teacher is then built as that says, with
        new weights, and what `reference` stands for need not be there any more.
    Raises ValueError where it is not there, or does not fit the data.
    """
    built = _open(reference, data, kind, described, weights=described is None)
    network = built.model if issubclass(kind, Method) else built
    _check_teacher(reference, network, data)
    _check_names(reference, network, data)
    return built


def check_there(config: RunConfig) -> None:
    """Raises ValueError where the folder that a run names as its teacher holds no trained network."""
    reference = str(config.method.options["teacher"])
    if not reference.startswith(TIMM):
        kind = find_method(config.method.name)
        _teacher_folder(reference, get_type_hints(kind.__init__)["teacher"])


def _open(
    reference: str,
    data: ImageSet,
    kind: type[nn.Module],
    described: Path | None = None,
    *,
    weights: bool = True,
) -> Any:
    """The teacher of `find`, whether it fits the data or not; `weights`: whether to load them."""
    if reference.startswith(TIMM):
        if issubclass(kind, Method):
            raise ValueError(
                f"method.teacher={reference}: a network of timm's has no auxiliary parts to teach"
                f" with; give {defaults.teacher_choices(kind)}"
            )
        try:
            return load_timm(reference.removeprefix(TIMM), len(data.classes), weights=weights)
        except ValueError as error:
            raise ValueError(f"method.teacher={reference}: {error}") from error
    folder = described or _teacher_folder(reference, kind)
    if issubclass(kind, Method):
        return load_method(folder, kind, weights=weights)
    network = load_network(folder, weights=weights)
    if not isinstance(network, kind):
        raise ValueError(
            f"method.teacher={reference} is a network for another task: give the folder of a run of"
            " the same task"
        )
    return network


def description(reference: str) -> dict[str, str]:
    """What `find` needs to build this teacher anew, but for its weights: files by name."""
    if reference.startswith(TIMM):
        return {}
    folder = build.named_folder("method.teacher", reference, defaults.teacher_choices(Classifier))
    files = {name: folder / name for name in DESCRIBED_BY}
    return {k: file.read_text(encoding="utf-8") for k, file in files.items() if file.is_file()}


def _teacher_folder(reference: str, kind: type[nn.Module]) -> Path:
    """The folder of a run that is done, by its path or by its run file."""
    folder = build.named_folder("method.teacher", reference, defaults.teacher_choices(kind))
    if not (folder / "model.safetensors").is_file():
        raise build.untrained("method.teacher", reference, folder, defaults.teacher_choices(kind))
    return folder


def _check_teacher(reference: str, network: Any, data: ImageSet) -> None:
    """Raises ValueError where a teacher has more or fewer classes, or was made for other images.

    Of pixels and of boxes it is one that takes images of any size.
    """
    if network.num_classes != len(data.classes):
        raise ValueError(
            f"method.teacher={reference} knows {network.num_classes} classes, and the data"
            f" {data.name!r} has {len(data.classes)}: choose a teacher that was trained on this data"
        )
    if not isinstance(network, Classifier) or network.size == data.size:
        return
    if network.net.pretrained_cfg.get("fixed_input_size") or not reference.startswith(TIMM):
        raise ValueError(
            f"method.teacher={reference} takes images of {network.size} pixels, and the data has"
            f" {data.size}: set data.size={network.size}"
        )


def _check_names(reference: str, network: Classifier, data: ImageSet) -> None:
    """Raises ValueError where a teacher's classes have names, and not those of the data's."""
    names = network.net.pretrained_cfg.get("label_names")
    if not names or reference.startswith(TIMM):
        return
    if other := build.other_class(names, data.classes):
        raise ValueError(
            f"method.teacher={reference} was trained on other classes: {other}; choose a teacher"
            " that was trained on this data"
        )


def _check_kind(place: object, config: RunConfig, kind: type[Method]) -> None:
    """Raises ValueError where a run trains another method than the one that is wanted."""
    if find_method(config.method.name) is not kind:
        raise ValueError(
            f"{place} was trained with {config.method.name!r} and has no auxiliary parts to teach"
            f" with: train one with method.name={method_name(kind)}"
        )


def load_method(folder: Path, kind: type[Method], *, weights: bool = True) -> Any:
    """The method that a run has trained, with all that it adds to the network.

    weights: whether to load them; else `DESCRIBED_BY` is enough, and they are new ones.
    Raises ValueError where the run trained another method, or what it left is damaged.
    """
    path = folder / "method.safetensors"
    if not (folder / "config.toml").is_file() or (weights and not path.is_file()):
        raise ValueError(
            f"{folder} holds a network without auxiliary parts: train one with"
            f" method.name={method_name(kind)}"
        )
    config, _ = defaults.resolve(settings.load(folder / "config.toml"))
    _check_kind(folder, config, kind)
    built = kind(load_network(folder, weights=weights), **config.method.options)
    try:
        if weights:
            built.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    return built


def blueprint(
    config: RunConfig, data: ImageSet | None = None, device: str = "meta"
) -> tuple[Method, int]:
    """The method of a run with new weights, and the size of its images; on "meta" nothing is computed.

    Neither data nor a teacher's run need be there: the table of data sets tells what the data is,
    unless it is given, and a teacher that is a stage, or named by its run file, is built from its
    settings. Raises what building raises.
    """
    wanted = config.data
    try:
        data = data or TASKS[config.task].declared(wanted.name, wanted.size)
    except ValueError:
        data = build.load_data(config)
    network = config.model.model_copy(update={"pretrained": False})
    config = config.model_copy(update={"init": None, "model": network})
    find_teacher = partial(imagined, run=config, device=device)
    with torch.device(device):
        return build.method(config, data, build.model(config, data), find_teacher), data.size


def imagined(
    reference: str,
    data: ImageSet,
    kind: type[nn.Module] = Classifier,
    *,
    run: RunConfig,
    device: str = "meta",
) -> Any:
    """`find`, on a device; a stage of `run`, and a run file's run, need not be trained."""
    path = Path(reference)
    if reference.startswith("@"):
        config = run.stage(int(reference[1:]))
    elif path.suffix == ".toml" and path.is_file():
        config, _ = defaults.resolve(settings.load(path))
    else:
        with torch.device("cpu"):
            weights = not reference.startswith(TIMM)  # no network is asked before training
            built = _open(reference, data, kind, weights=weights).to(device)
        _check_teacher(reference, built.model if issubclass(kind, Method) else built, data)
        return built
    if config.data.name == run.data.name:  # it lies where the run has it
        here = config.data.model_copy(update={"root": run.data.root})
        config = config.model_copy(update={"data": here})
    built, _ = blueprint(config, device=device)
    if issubclass(kind, Method):
        _check_kind(reference, config, kind)
    _check_teacher(reference, built.model, data)
    return built if issubclass(kind, Method) else built.model
