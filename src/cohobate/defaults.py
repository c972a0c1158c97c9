"""The settings of a run, checked against what they are for, with every default written out."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model
from torch import nn

from cohobate import config as settings
from cohobate.config import MethodConfig, MixConfig, RunConfig
from cohobate.core import Method, unknown
from cohobate.methods import find_method, method_name
from cohobate.mistakes import sentences
from cohobate.modules.mixing import MIXINGS
from cohobate.rundir import part
from cohobate.stages import located
from cohobate.tasks import TASKS

R = TypeVar("R", bound=RunConfig)


def resolve(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """The settings with every default written out, and sentences on what was changed.

    Raises ValueError for an unknown method, mixing or option, for settings that exclude each other,
    and for an `@` that names no stage before the run.
    """
    resolved, notes = _resolve(config)
    before = []
    for number, stage in enumerate(config.before or (), start=1):
        try:
            typed, told = _resolve(stage)
            located(config.stage(number), Path(), "no [[before]] stage comes before this one")
        except ValueError as error:
            raise ValueError(f"before.{number}: {error}") from error
        before.append(typed)
        notes += [f"before.{number}: {note}" for note in told]
    if before:
        resolved = resolved.model_copy(update={"before": tuple(before)})
    located(resolved, Path())
    return resolved, notes


def _resolve(config: R) -> tuple[R, list[str]]:
    """What `resolve` makes of a run, or of a stage, by itself."""
    notes = []
    shown(config)
    kind = find_method(config.method.name)
    method = kind.complete(options(kind, "method", config.method.options))
    if method.get(kind.kept_by) and not (config.init or config.model.pretrained):
        raise ValueError(
            f"method.{kind.kept_by}=true keeps the network as it is, so start from a trained one:"
            " init=RUN_FOLDER, or model.pretrained=true"
        )
    mix = None
    if config.mix:
        if config.mix.name not in MIXINGS:
            raise unknown("mixing", config.mix.name, MIXINGS)
        mix = MixConfig(
            name=config.mix.name,
            **options(MIXINGS[config.mix.name], "mix", config.mix.options),
        )
    if config.data.class_weights is not None and not TASKS[config.task].answers:
        raise ValueError(
            f"data.class_weights={config.data.class_weights}: an image is of no class as a whole in"
            f" task={config.task}: leave it away"
        )
    optim = config.optim
    sgd = optim.name == "sgd"
    warmup = min(5.0, optim.epochs / 10) if optim.warmup is None else optim.warmup
    if warmup >= optim.epochs:
        warmup = optim.epochs / 2
        notes.append(f"optim.warmup was cut to {warmup:g} epochs, half of the run")
    if optim.ema is not None and optim.swa is not None:
        raise ValueError(
            f"optim.ema={optim.ema:g} and optim.swa={optim.swa:g} are two averages of the weights,"
            " of which one is exported: leave one out"
        )
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
    schema = create_model(
        place, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **known
    )
    try:
        return settings.check(schema, given).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "missing" and name == "teacher":
            raise ValueError(
                f"{method_name(kind)} needs a teacher: {place}.teacher={teacher_choices(hints[name])}"
            ) from None
        if first["type"] == "extra_forbidden" and not known:
            raise ValueError(
                f"unknown option of [{place}] {name!r}: {method_name(kind)!r} takes no options"
            ) from None
        if first["type"] == "extra_forbidden":
            raise unknown(f"option of [{place}]", name, known) from None
        raise ValueError(sentences(error, schema, f"{place}.")) from None


def teacher_choices(kind: type[nn.Module]) -> str:
    """What can be named as a teacher of this kind."""
    if issubclass(kind, Method):
        return f"RUN_FOLDER of a run with method.name={method_name(kind)}, or its run file"
    return "RUN_FOLDER, a run file whose run is done, or timm:NAME"


def shown(config: RunConfig) -> dict[str, Any]:
    """What [eval] says of how images are shown, as the scores of the task take it.

    Raises ValueError for a setting of another task, and for a stride that fits no window.
    """
    wanted = config.eval
    given = {
        name: value
        for name in dict.fromkeys(name for task in TASKS.values() for name in task.shown)
        if (value := getattr(wanted, name)) is not None
    }
    for name in given:
        if name not in TASKS[config.task].shown:
            able = [task for task, kind in TASKS.items() if name in kind.shown]
            raise ValueError(
                f"eval.{name} is for task={' or '.join(able)}, and this is a run of"
                f" task={config.task}: leave it out"
            )
    if wanted.stride and wanted.stride > (wanted.window or 0):
        raise ValueError(
            f"eval.stride={wanted.stride} leads from one window to the next: set eval.window to as"
            " many pixels, or more"
        )
    return given


def default_folder(config: RunConfig) -> Path:
    """Where a run lies that was given no folder: `out/DATA/ARCH/[STAGE-…]METHOD[-MIXING]/seedK`.

    Where something stands upon the network, as a decoder, ARCH is both: `resnet18-fpn`.
    """
    earlier = [stage.title for stage in config.before or ()]
    mixing = [config.mix.name] if config.mix else []
    method = "-".join([*earlier, config.method.name, *mixing])
    arch, upon = config.model.arch, TASKS[config.task].upon
    if upon:
        usual = inspect.signature(TASKS[config.task].model).parameters[upon].default
        arch = f"{arch}-{config.model.options.get(upon, usual)}"
    names = (config.data.name, arch, method)
    return Path("out", *map(part, names), f"seed{config.seed}")
