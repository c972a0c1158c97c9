"""From settings to the parts of a run: the only module that knows every table."""

import inspect
import json
import re
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cohobate import config as settings
from cohobate.config import MethodConfig, MixConfig, RunConfig
from cohobate.core import Method, Mixing, unknown
from cohobate.data.classification import ImageSet
from cohobate.methods import METHODS
from cohobate.models import Classifier
from cohobate.modules.mixing import MIXINGS
from cohobate.tasks import TASKS

RESERVED = ("teacher", "samples")
"""Keywords of a method that are built, not handed on."""


def find_method(name: str) -> type[Method]:
    """The class of a method: one of the table, or `module:Class` from outside the package."""
    if name in METHODS:
        return METHODS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise unknown("method", name, METHODS)
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"method {name!r} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"method {name!r} is no subclass of cohobate.core.Method")
    return kind


def options(kind: type, place: str, given: dict[str, Any]) -> dict[str, Any]:
    """All keyword options of a class, the given ones checked against its signature.

    Raises ValueError, naming the option, its value and what is allowed.
    """
    hints = get_type_hints(kind.__init__, include_extras=True)
    known: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name != "samples":
            default = ... if parameter.default is parameter.empty else parameter.default
            known[name] = (str if name == "teacher" else hints[name], default)
    schema = create_model(place, __config__=ConfigDict(extra="forbid"), **known)
    try:
        return schema(**given).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "missing" and name == "teacher":
            raise ValueError(
                f"{place} needs a teacher: {place}.teacher=RUN_FOLDER, a run file whose run is"
                " done, or timm:NAME"
            ) from None
        if first["type"] == "extra_forbidden":
            raise unknown(f"option of [{place}]", name, known) from None
        raise ValueError(f"{place}.{settings.explain(first, schema)}") from None


def resolve(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """The settings with every default written out, and sentences on what was changed.

    Raises ValueError for an unknown method, mixing or option, and for settings that exclude
    each other.
    """
    notes = []
    kind = find_method(config.method.name)
    method = options(kind, "method", config.method.options)
    mix = None
    if config.mix:
        if config.mix.name not in MIXINGS:
            raise unknown("mixing", config.mix.name, MIXINGS)
        mix = MixConfig(
            name=config.mix.name,
            **options(MIXINGS[config.mix.name], "mix", config.mix.options),
        )
    optim = config.optim
    sgd = optim.name == "sgd"
    warmup = min(5.0, optim.epochs / 10) if optim.warmup is None else optim.warmup
    if warmup >= optim.epochs:
        warmup = optim.epochs / 2
        notes.append(f"optim.warmup was cut to {warmup:g} epochs, half of the run")
    if list(optim.milestones) != sorted(set(optim.milestones)):
        raise ValueError(f"optim.milestones={list(optim.milestones)} must rise")
    if optim.schedule == "step" and not optim.milestones:
        raise ValueError('optim.schedule="step" needs optim.milestones, such as [100, 150]')
    optim = replace(
        optim,
        lr=optim.lr or (0.1 if sgd else 1e-3),
        weight_decay=(5e-4 if sgd else 0.05) if optim.weight_decay is None else optim.weight_decay,
        warmup=warmup,
    )
    name = MethodConfig(name=config.method.name, **method)
    return config.model_copy(update={"method": name, "mix": mix, "optim": optim}), notes


def default_folder(config: RunConfig) -> Path:
    """Where a run lies that was given no folder."""
    return Path(
        "out",
        config.data.name,
        config.model.arch,
        config.method.name.replace(":", "."),
        f"seed{config.seed}",
    )


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
        seed=config.seed,
    )


def model(config: RunConfig, data: ImageSet) -> Any:
    """The network of a run, from `init` where it names one, frozen as far as it should be."""
    wanted = config.model
    own = {} if wanted.pretrained else {"mean": data.mean, "std": data.std}
    network = TASKS[config.task].model(
        wanted.arch,
        len(data.classes),
        size=data.size,
        pretrained=wanted.pretrained,
        **own,
        **wanted.options,
    )
    if config.init:
        start_from(network, config.init)
    network.freeze(wanted.freeze)
    return network


def method(config: RunConfig, data: ImageSet, network: nn.Module) -> Method:
    """The method of a run around its network, with its teacher and its mixing."""
    kind = find_method(config.method.name)
    given = config.method.options
    if "teacher" in given:
        given["teacher"] = teacher(str(given["teacher"]), data)
    if "samples" in inspect.signature(kind).parameters:
        given["samples"] = len(data.train)
    built = kind(network, **given)
    if config.mix:
        if built.mix is not None:
            raise ValueError(
                f"method {config.method.name!r} mixes images itself: take [mix] away"
                " (mix.name=none), or choose another method"
            )
        built.mix = mixing(config.mix)
    return built


def mixing(config: MixConfig) -> Mixing:
    return MIXINGS[config.name](**config.options)


def teacher(reference: str, data: ImageSet) -> Classifier:
    """The network that a run folder, a run file (its default folder) or timm:NAME stands for.

    Raises ValueError where it is not there, or does not fit the data.
    """
    if reference.startswith("timm:"):
        network = load_timm(reference.removeprefix("timm:"), len(data.classes))
    else:
        path = Path(reference)
        if path.suffix == ".toml" and path.is_file():
            path = default_folder(resolve(settings.load(path))[0])
        if not (path / "model.safetensors").is_file():
            how = f"`cohobate train {reference}`" if path != Path(reference) else "`cohobate train`"
            raise ValueError(
                f"method.teacher={reference}: there is no trained network in {path}; {how} trains"
                " one, and timm:NAME takes one of timm's"
            )
        network = load_network(path)
    if network.num_classes != len(data.classes):
        raise ValueError(
            f"method.teacher={reference} knows {network.num_classes} classes, and the data"
            f" {data.name!r} has {len(data.classes)}: choose a teacher that was trained on this data"
        )
    fixed = network.net.pretrained_cfg.get("fixed_input_size")
    if fixed and network.size != data.size:
        raise ValueError(
            f"method.teacher={reference} takes images of {network.size} pixels, and the data has"
            f" {data.size}: set data.size={network.size}"
        )
    return network


def load_timm(arch: str, num_classes: int) -> Classifier:
    """A pretrained network of timm's with the classes that it was trained on."""
    own = Classifier(arch, num_classes).net.default_cfg.get("num_classes", num_classes)
    return Classifier(arch, own, pretrained=True)


def load_network(folder: str | Path) -> Classifier:
    """The network that a run, or timm itself, left in a folder: `model.safetensors`, `config.json`.

    Raises ValueError where there is none, or it is damaged.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        classes = facts.get("num_classes") or facts["pretrained_cfg"]["num_classes"]
        return Classifier(f"local-dir:{folder}", classes, pretrained=True)
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds no trained network (model.safetensors with timm's config.json): give"
            " the folder of a run that is done"
        ) from None
    except (KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"the network in {folder} is damaged: {error}") from error


def start_from(network: Classifier, source: str) -> None:
    """Loads the weights of a run folder or file; a classifier of other classes stays as it is."""
    path = Path(source)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"init={source}: there is no {path}; give a run folder or a .safetensors file"
        )
    state = load_file(path)
    mine = network.net.state_dict()
    shapes = {key for key in state if key in mine and state[key].shape != mine[key].shape}
    heads = [*network.head()]
    ends = tuple(f"{name}." for name, part in network.net.named_modules() if part in heads)
    strange = sorted(key for key in {*state} ^ {*mine} | shapes if not key.startswith(ends))
    if strange:
        raise ValueError(
            f"init={source} is no network of model.arch={network.spec['arch']!r}: {len(strange)}"
            f" tensors differ, such as {strange[0]!r}"
        )
    network.net.load_state_dict({k: v for k, v in state.items() if k not in shapes}, strict=False)


def idea(kind: type[Method]) -> tuple[str, str]:
    """A method's first sentence, and the link to its paper, from its docstring."""
    text = inspect.cleandoc(kind.__doc__ or "")
    link = re.search(r"https?://[^\s)]+[^\s).,:;]", text)
    return text.partition("\n\n")[0].replace("\n", " "), link.group() if link else ""


def describe(name: str) -> str:
    """A method's docstring, and its options with type and default."""
    kind = find_method(name)
    lines = [inspect.cleandoc(kind.__doc__ or ""), "", "[method]", f'name = "{name}"']
    hints = get_type_hints(kind.__init__, include_extras=True)
    for key, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and key != "samples":
            if key == "teacher":
                lines.append(
                    'teacher = "…"  # a run folder, a run file whose run is done, or timm:NAME'
                )
                continue
            default = parameter.default
            value = (
                str(default).lower()
                if isinstance(default, bool)
                else repr(default).replace("'", '"')
            )
            lines.append(f"{key} = {value}  # {_kind(hints[key])}")
    return "\n".join(lines)


def _kind(hint: Any) -> str:
    """An option's type as people read it: `float, > 0` or `"paper" or "released"`."""
    base, *bounds = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(base) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(base))
    signs = {"Gt": ">", "Ge": "≥", "Lt": "<", "Le": "≤"}
    limits = [f"{signs[type(b).__name__]} {next(iter(asdict(b).values()))}" for b in bounds]
    return ", ".join([getattr(base, "__name__", str(base)), *limits])
