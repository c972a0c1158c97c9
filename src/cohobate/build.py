"""From settings to the parts of a run: its data, its network, its method."""

import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, ValidationError, create_model
from torch import nn

from cohobate import config as settings
from cohobate.config import CacheConfig, MixConfig, ModelConfig, RunConfig
from cohobate.core import Method, Mixing, out_of_memory
from cohobate.data.classification import ImageSet
from cohobate.defaults import default_folder, resolve
from cohobate.methods import METHODS, asked, find_method
from cohobate.mistakes import sentences
from cohobate.models import Classifier
from cohobate.models.classifier import FOUND_OUT, UnknownOption
from cohobate.modules.mixing import MIXINGS
from cohobate.tasks import TASKS
from cohobate.weights import class_names, normalisation, start_from

FROM_DATA = ("size", "mean", "std")
"""Options of our networks that are found out from the data, besides `FOUND_OUT`, timm's own."""


def data_name(config: RunConfig) -> str:
    """What people call the data of a run: the name of its set; of files of one's own, their folder's."""
    wanted = config.data
    try:
        TASKS[config.task].declared(wanted.name)
    except ValueError:  # the name is one of a layout, which files of any kind have
        return Path(wanted.root or "").expanduser().resolve().name if wanted.root else wanted.name
    return wanted.name


def load_data(config: RunConfig) -> ImageSet:
    """The data set of a run. Raises ValueError or FileNotFoundError where it is not as it should be."""
    wanted = config.data
    return TASKS[config.task].data(
        wanted.name,
        root=wanted.root,
        download=wanted.download,
        size=wanted.size,
        val=wanted.val,
        per_class=wanted.per_class,
        fraction=wanted.fraction,
        skip_bad=wanted.skip_bad,
        seed=config.seed if wanted.seed is None else wanted.seed,
    )


def model(config: RunConfig, data: ImageSet) -> Any:
    """The network of a run, from `init` where it names one, frozen as far as it should be."""
    wanted = config.model
    for key in (*FOUND_OUT, *FROM_DATA):
        if key in wanted.options:
            raise ValueError(f"model.{key} is found out from the data: leave it away")
    init = None
    own = {} if wanted.pretrained else {"mean": data.mean, "std": data.std}
    if config.init:
        init = named_folder("init", config.init, "RUN_FOLDER or a run file")
        own |= normalisation(init)  # what it learnt, it learnt of images that were normalised so
    kind = TASKS[config.task].model
    _check_options(kind, wanted.options)
    try:
        network = kind(
            wanted.arch,
            len(data.classes),
            size=data.size,
            pretrained=wanted.pretrained,
            **own,
            **wanted.options,
        )
    except UnknownOption as error:
        known = {*inspect.signature(kind).parameters} - {"options", *FOUND_OUT, *FROM_DATA}
        raise error.among(known | {*ModelConfig.model_fields}) from None
    check_size(network, data.size)
    _start(config, network, data, init)
    network.freeze(wanted.freeze)
    return network


def _check_options(kind: type[nn.Module], given: dict[str, Any]) -> None:
    """Raises ValueError where an option of a network itself is of the wrong kind; others are timm's."""
    hints = get_type_hints(kind.__init__, include_extras=True)
    known: dict[str, Any] = {name: (hints[name], ...) for name in given if name in hints}
    schema = create_model("model", __config__=ConfigDict(extra="allow"), **known)
    try:
        settings.check(schema, given)
    except ValidationError as error:
        raise ValueError(sentences(error, schema, "model.")) from None


def _start(config: RunConfig, network: Any, data: ImageSet, init: Path | None) -> None:
    """Loads the weights of `init`, where there is one, of which the network's note then tells.

    Raises ValueError where the method keeps the network as it is, and its classifier is not of the
    data's classes.
    """
    fits, names = True, data.classes
    if init:
        loaded, names = start_from(network, str(init)), class_names(init) or names
        fits = all(some == every for some, every in loaded.values())
        parts = (f"{some or 'none'} of {n} of the {part}" for part, (some, n) in loaded.items())
        network.note = f"init={config.init} gave tensors: {', '.join(parts)}"
    elif config.model.pretrained:
        fits = network.net.pretrained_cfg.get("num_classes") == len(data.classes)
    kept_by = find_method(config.method.name).kept_by
    if config.method.options.get(kept_by):
        other = other_class(names, data.classes) if fits else "their numbers differ"
        if other:
            start = f"init={config.init}" if config.init else "model.pretrained=true"
            raise ValueError(
                f"{start} was trained on other classes than {data.name!r} has ({other}), and"
                f" method.{kept_by}=true would keep a classifier of none of them: start from a"
                f" network that was trained on this data, or set method.{kept_by}=false"
            )


def other_class(names: Sequence[str], classes: Sequence[str]) -> str:
    """What tells the classes of a trained network from those of the data; "" where they are the same."""
    for number, (theirs, ours) in enumerate(zip_longest(names, classes)):
        if theirs != ours:
            return f"its class {number} is {theirs!r}, and that of the data {ours!r}"
    return ""


@torch.no_grad()
def check_size(network: Classifier, size: int) -> None:
    """Raises ValueError where images of `size` pixels do not pass the network."""
    try:
        deepcopy(network).eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        if out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"data.size={size}: images of that size do not pass {network.spec['arch']!r} ({reason});"
            " choose another data.size or model.arch"
        ) from error


def method(
    config: RunConfig,
    data: ImageSet,
    network: nn.Module,
    find_teacher: Callable[[str, ImageSet, type[nn.Module]], Any],
) -> Method:
    """The method of a run around its network, with its teacher and its mixing.

    find_teacher: builds the teacher that a reference stands for, such as `teachers.find`.
    """
    kind = find_method(config.method.name)
    _check_task(config, kind)
    given = config.method.options
    if "teacher" in given:
        wanted = get_type_hints(kind.__init__)["teacher"]
        if not issubclass(wanted, Method):
            wanted = TASKS[config.task].model
        given["teacher"] = find_teacher(str(given["teacher"]), data, wanted)
    if "samples" in asked(config.method.name):
        given["samples"] = len(data.train)
    built = kind(network, **given)
    if config.mix:
        if not TASKS[config.task].mixes:
            raise ValueError(
                f"mix.name={config.mix.name}: images of task={config.task} are not mixed, nor are their"
                " targets: take [mix] away (mix.name=none)"
            )
        if built.mix is not None:
            raise ValueError(
                f"method {config.method.name!r} mixes images itself: take [mix] away"
                " (mix.name=none), or choose another method"
            )
        built.mix = mixing(config.mix)
    if config.cache:
        _check_recalled(config.method.name, built, config.cache)
    return built


def _check_task(config: RunConfig, kind: type[Method]) -> None:
    """Raises ValueError where a method is for another task."""
    if config.task not in kind.tasks:
        able = [name for name, other in METHODS.items() if config.task in other.tasks]
        raise ValueError(
            f"method {config.method.name!r} is for {' and '.join(kind.tasks)}, and task="
            f"{config.task}: choose from {', '.join(able)}"
        )


def _check_recalled(name: str, method: Method, cache: CacheConfig) -> None:
    """Raises ValueError where what [cache] holds cannot take the place of a method's teacher."""
    if method.recalls == "nothing":
        able = ", ".join(each for each, kind in METHODS.items() if kind.recalls != "nothing")
        raise ValueError(
            f"cache.folder={cache.folder}: method {name!r} wants more of a frozen teacher than its"
            f" logits, or has none: take [cache] away, or choose from {able}"
        )
    classes = method.model.num_classes
    if method.recalls == "all" and cache.top < classes:
        raise ValueError(
            f"cache.top={cache.top}: method {name!r}, as it is set, needs the teacher's logits of"
            f" all {classes} classes: cache.top={classes}"
        )


def notes(method: Method) -> list[str]:
    """What the method's modules have to say, such as how auxiliary branches were made."""
    notes = [getattr(part, "note", None) for part in method.modules()]
    return list(dict.fromkeys(note for note in notes if isinstance(note, str)))


def mixing(config: MixConfig) -> Mixing:
    return MIXINGS[config.name](**config.options)


def named_folder(key: str, reference: str, choices: str) -> Path:
    """The path that a setting names; that of a run file is its default folder.

    Raises ValueError where the run of a run file is not done, or the folder holds another one.
    """
    path = Path(reference)
    if path.suffix != ".toml" or not path.is_file():
        return path
    asked = resolve(settings.load(path))[0]
    folder = default_folder(asked)
    if not (folder / "model.safetensors").is_file():
        raise untrained(key, reference, folder, choices)
    _check_run(key, reference, folder, asked)
    return folder


def _check_run(key: str, reference: str, folder: Path, asked: RunConfig) -> None:
    """Raises ValueError where a folder holds another network, or method, than a run file asks for."""
    if not (folder / "config.toml").is_file():
        return
    there, wanted = settings.read(folder), asked.model_dump(mode="json", exclude_none=True)
    for table in ("model", "method"):
        if other := settings.differences(there.get(table, {}), wanted[table], f"{table}."):
            raise ValueError(
                f"{key}={reference}: {folder} holds another run (folder → run file: {other[0]});"
                " give the RUN_FOLDER of the one that is meant"
            )


def untrained(key: str, reference: str, folder: Path, choices: str) -> ValueError:
    """The error for a run that a setting names and that is not done."""
    how = "`cohobate train`" if folder == Path(reference) else f"`cohobate train {reference}`"
    return ValueError(
        f"{key}={reference}: there is no trained network in {folder}; {how} trains one; give"
        f" {choices}"
    )
