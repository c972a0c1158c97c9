"""A network that is trained, opened again: a run's with what it began with, or any other of timm's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cohobate import build, teachers
from cohobate import config as settings
from cohobate.config import RunConfig
from cohobate.core import Method
from cohobate.data.classification import ImageSet
from cohobate.data.splits import Split
from cohobate.machine import Machine
from cohobate.methods import asked
from cohobate.models import Classifier
from cohobate.modules import Frozen, frozen_keys
from cohobate.modules.memory import check_memories, memory_keys
from cohobate.recorded import SPLITS, check_data, doubts
from cohobate.rundir import RunDir
from cohobate.teachers import TIMM
from cohobate.weights import load_checkpoint, load_classifier, load_network, load_timm

TAKEN = ("data", "eval", "seed", "deterministic")
"""The settings that a look at a network takes; what it is and how it was trained stays as it is."""
OTHER = {"data.name", "data.root"}
"""Those that name other data than the run's own ..."""
CUTS = {"data.val", "data.fraction", "data.per_class", "data.seed"}
"""... of which these cut the splits; the own is cut as it was for the training."""
LOCAL = "local-dir:"
"""What timm writes before a folder that holds a network."""


@dataclass(frozen=True)
class Trained:
    """A run's folder, and what is in it or named by it; or a network and data to look at.

    run: of what is no run, the folder, file or name of its network, which holds nothing else.
    """

    run: RunDir
    config: RunConfig
    network: Classifier
    data: ImageSet

    def split(self, name: str) -> Split:
        """The split that `--split` names. Raises ValueError where the data has none of that name."""
        has = {each: getattr(self.data, each) for each in SPLITS}
        if has.get(name) is None:
            choices = ", ".join(each for each in SPLITS if has[each] is not None)
            raise ValueError(f"--split {name}: this data has {choices}")
        return has[name]

    def notes(self, name: str) -> list[str]:
        """Sentences on how a split came to be, and on images in it that the run may have been trained on.

        Raises ValueError where there is no such split, or the record of the run is damaged.
        """
        if not self.run.splits.is_file():
            return [*self.data.notes]
        split = replace(self, data=self.begun).split(name)
        return [*self.data.notes, *doubts(self.run, name, split)]

    @cached_property
    def begun(self) -> ImageSet:
        """The data at the size that the network was trained at, as which a run's record knows it."""
        if self.data.size == self.network.size:
            return self.data
        unsized = self.config.data.model_copy(update={"size": None})
        return _data(self.config.model_copy(update={"data": unsized}), self.network)

    def autocast(self) -> torch.autocast:
        """The precision that its scores are computed in, where its network is now."""
        device = next(self.network.parameters()).device.type
        precision = Machine.of(self.run, self.config, 1).precision
        return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")

    def method(self) -> Method:
        """The method with all that it added to the network, as the training left it: heads, teacher, mixing.

        Where weights were averaged, its network has those of the last step, which the heads know.
        Raises ValueError where the folder does not hold them all.
        """
        run = self.run
        if not run.method.is_file():
            raise ValueError(f"{run.path} holds no {run.method.name}, with the heads")
        method = restore(run, without_start(self.config), self.data)
        try:
            state = load_file(run.method)
            wanted = {*method.state_dict()} - frozen_keys(method) - memory_keys(method)
            if missing := wanted - {*state}:
                raise SafetensorError(f"it lacks {min(missing)}")
            method.load_state_dict(state, strict=False)
        except (SafetensorError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"{run.method} is damaged: {first}") from error
        return method.eval()


def reopen(folder: str | Path, overrides: Sequence[str] = ()) -> Trained:
    """The run in a folder.

    overrides: settings such as `data.root=…`, for other data of the same classes; `data.name=X` puts
        the defaults in the place of the whole [data] table, cuts for training included.
    Raises ValueError where the folder holds no trained network, the data is not the run's and no other
    is named, its own would be cut anew, or a setting has no effect.
    """
    run = RunDir(folder)
    if not run.config.is_file():
        raise ValueError(f"{run.path} is no run folder: it holds no config.toml")
    _check_taken(str(run.path), overrides, TAKEN)
    keys = {setting.partition("=")[0].strip() for setting in overrides}
    own = not keys & OTHER
    if own and (cut := keys & CUTS):
        raise ValueError(
            f"{run.path} takes no {min(cut)} without data.name or data.root: its own images stay cut as"
            " they were, or those that it was trained on would be scored"
        )
    table = settings.read(run.config)
    if "data.name" in keys:
        table["data"] = {}
    config = settings.parse(settings.override(table, overrides), str(run.config))
    network = load_network(run.path)
    data = _data(config, network)
    check_classes(str(run.path), network, data)
    found = Trained(run, config, network, data)
    if own:
        check_data(run, found.begun)
    return found


def open_network(source: str, overrides: Sequence[str] = ()) -> Trained:
    """A run, or any other network of timm's with data to look at.

    source: the folder of a run; `timm:NAME`, with timm's weights; a folder of timm's form, with or
        without `local-dir:` before it; a checkpoint file, whose network `model.arch` names.
    overrides: settings; what is no run needs `data.name`. Images are served at the size that the
        network was trained at; for a checkpoint file, which does not tell it, at the data's own.
    Raises ValueError where there is no network, the data has other classes, or a setting has no
    effect.
    """
    path = Path(source.removeprefix(LOCAL))
    if (path / "config.toml").is_file():
        return reopen(path, overrides)
    if not (source.startswith(TIMM) or path.is_file() or (path / "config.json").is_file()):
        raise ValueError(
            f"{path} is no run folder, no folder of timm's form (config.json, model.safetensors) and"
            " no checkpoint file: give one of them, or timm:NAME"
        )
    own = ("model",) if path.is_file() else ()
    _check_taken(source, overrides, (*TAKEN, "precision", *own))
    config = settings.parse(settings.override({}, overrides), source)
    if "name" not in config.data.model_fields_set:
        raise ValueError(
            f"{source} is no run, which would name its data: add data.name=NAME data.root=FOLDER,"
            " such as data.name=cifar100"
        )
    if path.is_file():
        network, data = open_file(path, config)
    else:
        network = named_network(source)
        data = _data(config, network)
    check_classes(source, network, data)
    return Trained(RunDir(path), config, network, data)


def _check_taken(source: str, overrides: Sequence[str], taken: Sequence[str]) -> None:
    """Raises ValueError for a setting that is not, or is in no table, of those `taken`."""
    for setting in overrides:
        key = setting.partition("=")[0].strip()
        if key.partition(".")[0] not in taken:
            raise ValueError(
                f"{source} takes no {key}: the network stays as it is; settings of"
                f" {', '.join(taken)} are taken"
            )


def named_network(source: str) -> Classifier:
    """The network of a run's folder, of one of timm's form, or `timm:NAME`. Raises ValueError."""
    if source.startswith(TIMM):
        return load_timm(source.removeprefix(TIMM), 1000)
    return load_classifier(source.removeprefix(LOCAL))


def open_file(path: Path, config: RunConfig) -> tuple[Classifier, ImageSet]:
    """A checkpoint file's network, and the data, whose size it takes.

    Raises ValueError where the settings do not name it, or the file holds another one.
    """
    if "arch" not in config.model.model_fields_set:
        raise ValueError(
            f"{path} is a checkpoint: say which network it holds by model.arch=NAME, such as"
            " model.arch=resnet18"
        )
    data = build.load_data(config)
    arch, options = config.model.arch, dict(config.model.options)
    for key in ("mean", "std"):
        value = options.get(key)
        numbers = isinstance(value, list) and all(isinstance(each, int | float) for each in value)
        if value is not None and not (numbers and len(value) == 3):
            raise ValueError(
                f"model.{key}={value}: three numbers are needed, such as '[0.5, 0.5, 0.5]'"
            )
    return load_checkpoint(path, arch, len(data.classes), size=data.size, options=options), data


def _data(config: RunConfig, network: Classifier) -> ImageSet:
    """The data of a run, served at the size that the network takes, unless another one is asked for.

    Raises ValueError where images of that size do not pass the network.
    """
    size = config.data.size or network.size
    if size != network.size:
        build.check_size(network, size)
    sized = config.data.model_copy(update={"size": size})
    return build.load_data(config.model_copy(update={"data": sized}))


def check_classes(source: str, network: Classifier, data: ImageSet) -> None:
    """Raises ValueError where a network was trained on other classes than those of the data."""
    if network.num_classes != len(data.classes):
        raise ValueError(
            f"{source} knows {network.num_classes} classes, and the data {data.name!r} has"
            f" {len(data.classes)}: give data of the same classes"
        )
    names = network.net.pretrained_cfg.get("label_names") or data.classes
    if other := build.other_class(names, data.classes):
        raise ValueError(f"{source} was trained on other classes than {data.name!r} has: {other}")


def restore(run: RunDir, config: RunConfig, data: ImageSet) -> Method:
    """The method, around the frozen networks that the run began with, where it has begun.

    Its teacher, wherever it was, need not be there any more then. Raises ValueError.
    """
    network = build.model(config, data)
    if not run.environment.exists() and "samples" in asked(config.method.name):
        check_memories(teachers.blueprint(config, data)[0])
    if not (run.environment.exists() and run.frozen.exists()):
        return build.method(config, data, network, teachers.find)
    described = run.teacher if run.teacher.is_dir() else None
    method = build.method(config, data, network, partial(teachers.find, described=described))
    try:
        state = load_file(run.frozen)
        if missing := frozen_keys(method) - {*state}:
            raise SafetensorError(f"it lacks {min(missing)}")
        method.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"{run.frozen} is damaged: {first}; start anew in another --out DIR"
        ) from error
    return method


def without_start(config: RunConfig) -> RunConfig:
    """The settings without the weights that the network began with, which it has left behind."""
    model = config.model.model_copy(update={"pretrained": False})
    return config.model_copy(update={"init": None, "model": model}).model_copy(deep=True)


def own_teacher(trained: Trained) -> tuple[str, Classifier] | None:
    """The teacher that a run was taught by, and what it was named; None where its folder holds none."""
    run, config = trained.run, trained.config
    reference = config.method.options.get("teacher")
    if reference is None or not run.frozen.is_file():
        return None
    frozen = getattr(restore(run, without_start(config), trained.data), "teacher", None)
    if not isinstance(frozen, Frozen):
        return None
    return str(reference), frozen.net.model if isinstance(frozen.net, Method) else frozen.net
