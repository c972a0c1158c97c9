"""What a run would be, told before anything is computed; only a `folder` or `npz` is read for it."""

from typing import Any, NamedTuple

import torch

from cohobate import build, teachers
from cohobate.config import MethodConfig, RunConfig
from cohobate.core import Method
from cohobate.cost import cost, held_bytes, taught, trained_parts
from cohobate.modules import Connector, Frozen


class Explained(NamedTuple):
    """A run in words and numbers; rows are ready to be shown.

    before: its stages, with method, network, parameters, and what teacher or start each names.
    network: its name, parameters and multiply-adds. notes: what the method has to say.
    stages: module, channels and map of each stage that the method can tap. teacher: those of its
    teacher.
    parts: what the method adds to the network, with parameters, and whether it learns.
    connectors: what joins two maps: where, from which shape to which, parameters.
    options: of the method; the weights of its losses are among them.
    terms: its losses, the parts that each teaches, and those that learn and that it leaves alone.
    costs: what training costs, of `supervised`, of the method, and the ratio.
    """

    before: list[tuple[str, ...]]
    network: str
    notes: list[str]
    stages: list[tuple[str, str, str]]
    teacher: list[tuple[str, str, str]]
    parts: list[tuple[str, str, str]]
    connectors: list[tuple[str, str, str]]
    options: str
    terms: list[tuple[str, str, str]]
    costs: list[tuple[str, str, str, str]]


def explain(config: RunConfig) -> Explained:
    """What the run of a resolved config is made of, and what it costs. Raises ValueError."""
    method, size = teachers.blueprint(config)
    plain = MethodConfig(name="supervised")
    baseline, _ = teachers.blueprint(
        config.model_copy(update={"method": plain, "mix": None, "cache": None})
    )
    ours, theirs = cost(method, size), cost(baseline, size)
    ours["held"], theirs["held"] = (
        held_bytes(each, size, config.data.batch_size) for each in (method, baseline)
    )
    arch = config.model.arch
    given = config.method.options
    return Explained(
        before=[_stage(n, config.stage(n)) for n, _ in enumerate(config.before or (), start=1)],
        network=f"{arch}: {ours['parameters']:,} parameters, {ours['macs']:,} multiply-adds at {size} pixels",
        notes=build.notes(method),
        stages=_stages(method.model, size),
        teacher=_stages(_teacher(method), size),
        parts=_parts(method),
        connectors=_connectors(method),
        options=", ".join(f"{key}={value}" for key, value in given.items() if key != "teacher"),
        terms=_terms(method, size),
        costs=[
            ("multiply-adds of an image, forward (M)", *_compared(theirs, ours, "training_macs", 6)),
            ("kept for the backward pass, of an image (MB)", *_compared(theirs, ours, "training_bytes", 6)),
            ("parameters that are trained (M)", *_compared(theirs, ours, "trained_parameters", 6)),
            (f"held by a step of {config.data.batch_size} images in float32, estimated (MB)", *_compared(theirs, ours, "held", 6)),
        ],
    )  # fmt: skip


def _stage(number: int, config: RunConfig) -> tuple[str, ...]:
    method, _ = teachers.blueprint(config)
    parameters = sum(p.numel() for p in method.model.parameters())
    named = {"teacher": config.method.options.get("teacher"), "init": config.init}
    sources = ", ".join(f"{role} {source}" for role, source in named.items() if source)
    return (f"@{number}", config.method.name, config.model.arch, f"{parameters:,}", sources)


def _teacher(method: Method) -> Any:
    """The network that teaches; None where there is none."""
    frozen = getattr(method, "teacher", None)
    net = frozen.net if isinstance(frozen, Frozen) else None
    return net.model if isinstance(net, Method) else net


def _stages(model: Any, size: int) -> list[tuple[str, str, str]]:
    if model is None or not model.stages:
        return []
    with torch.no_grad():
        maps = model.eval().trace(torch.empty(1, 3, size, size, device="meta")).stages
    return [
        (stage.module, str(stage.channels), f"{tapped.shape[2]} × {tapped.shape[3]}")
        for stage, tapped in zip(model.stages, maps)
    ]


def _parts(method: Method) -> list[tuple[str, str, str]]:
    """The children of a method beside its network, those without parameters left out."""
    rows = []
    for name, part in method.named_children():
        count = sum(p.numel() for p in part.parameters())
        if name != "model" and count:
            rows.append((name, f"{count:,}", "frozen" if isinstance(part, Frozen) else "trained"))
    return rows


def _connectors(method: Method) -> list[tuple[str, str, str]]:
    return [
        (name, part.joins, f"{sum(p.numel() for p in part.parameters()):,}")
        for name, part in method.named_modules()
        if isinstance(part, Connector)
    ]


def _terms(method: Method, size: int) -> list[tuple[str, str, str]]:
    learning = [*trained_parts(method)]
    rows = []
    for term, reached in taught(method, size).items():
        alone = [part for part in learning if part not in reached]
        rows.append((term, ", ".join(map(_called, reached)), ", ".join(map(_called, alone))))
    return rows


def _called(part: str) -> str:
    return "network" if part == "model" else part


def _compared(
    theirs: dict[str, int], ours: dict[str, int], key: str, power: int
) -> tuple[str, str, str]:
    a, b = theirs[key], ours[key]
    return f"{a / 10**power:,.2f}", f"{b / 10**power:,.2f}", f"{b / a:.2f}"
