"""What a run would be, told before anything is computed; only a `folder` or `npz` is read for it."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from cohobate import build, teachers
from cohobate.config import MethodConfig, RunConfig
from cohobate.core import Method, counted
from cohobate.cost import cost, held_bytes
from cohobate.lineage import Part, Term, lineage, networks, trained_parts
from cohobate.modules import Frozen


class Explained(NamedTuple):
    """A run in words and numbers; rows are ready to be shown.

    before: its stages, with method, network, parameters, and what teacher or start each names.
    network: its name, parameters and multiply-adds. notes: what the method has to say.
    mix: how images are mixed; "" where they are not.
    stages: module, channels and map of each stage that the method can tap. teacher: those of its
    teacher.
    parts: what the method adds to the network: from which taps and shapes to which, parameters, and
    whether it learns.
    options: of the method; the weights of its losses are among them.
    terms: its losses, with the options that weigh each, what each teaches, what it is made of and
    does not teach, and the parts that learn and that it leaves alone.
    costs: what training costs, of `supervised`, of the method, and the ratio.
    """

    before: list[tuple[str, ...]]
    network: str
    notes: list[str]
    mix: str
    stages: list[tuple[str, str, str]]
    teacher: list[tuple[str, str, str]]
    parts: list[tuple[str, str, str, str]]
    options: str
    terms: list[tuple[str, str, str, str, str]]
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
    terms, parts = lineage(method, size)
    arch = config.model.arch
    given = {key: value for key, value in config.method.options.items() if key != "teacher"}
    return Explained(
        before=[_stage(n, config.stage(n)) for n, _ in enumerate(config.before or (), start=1)],
        network=f"{arch}: {ours['parameters']:,} parameters, {ours['macs']:,} multiply-adds at {size} pixels",
        notes=build.notes(method),
        mix=_mixing(config, method),
        stages=_stages(method.model, size),
        teacher=_stages(_teacher(method), size),
        parts=[*_learning(method, parts), *_frozen(method)],
        options=_listed(given),
        terms=_terms(method, terms, given),
        costs=[
            ("multiply-adds of a step, there and back, of an image (M)", *_compared(theirs, ours, "step_macs", 6)),
            ("multiply-adds of an image, forward (M)", *_compared(theirs, ours, "training_macs", 6)),
            ("kept for the backward pass, of an image (MB)", *_compared(theirs, ours, "training_bytes", 6)),
            ("parameters that are trained (M)", *_compared(theirs, ours, "trained_parameters", 6)),
            (f"held by a step of {counted(config.data.batch_size, 'image')} in float32, estimated (MB)", *_compared(theirs, ours, "held", 6)),
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
        maps = model.eval().features(torch.empty(1, 3, size, size, device="meta"))
    return [
        (stage.module, str(stage.channels), f"{tapped.shape[2]} × {tapped.shape[3]}")
        for stage, tapped in zip(model.stages, maps)
    ]


def _mixing(config: RunConfig, method: Method) -> str:
    """The mixing of a run, in full; that which the method owns has options of the method's."""
    if config.mix:
        return f"{config.mix.name}: {_listed(config.mix.options)}"
    return f"{method.mix}, by the method" if method.mix else ""


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _learning(method: Method, parts: list[Part]) -> Iterator[tuple[str, str, str, str]]:
    for part in parts:
        takes, gives = (", ".join(map(_shape, shapes)) for shapes in part[3:])
        sources = ", ".join(_runs(method, part.sources))
        joins = f"{sources} {takes}".strip()
        yield part.name, f"{joins} → {gives}" if joins else gives, f"{part.parameters:,}", "trained"


def _shape(sides: tuple[int, ...]) -> str:
    return " × ".join(map(str, sides)) or "1"


def _frozen(method: Method) -> Iterator[tuple[str, str, str, str]]:
    """The children of a method beside its network that have parameters, and do not learn."""
    for name, part in method.named_children():
        count = sum(p.numel() for p in part.parameters())
        if name != "model" and count and not any(p.requires_grad for p in part.parameters()):
            yield name, "", f"{count:,}", "frozen" if isinstance(part, Frozen) else "not trained"


def _terms(
    method: Method, terms: dict[str, Term], options: dict[str, Any]
) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for name, term in terms.items():
        weights = _listed({key: options.get(key) for key in term.weights}) or "1"
        given = [source for source in term.sources if source not in term.enters]
        parts = [part for part in term.teaches if part != "model"]
        taught = _runs(method, term.enters)
        alone = [part for part in trained_parts(method) if part not in term.teaches]
        rows.append(
            (
                name,
                weights,
                ", ".join([*taught, *parts]) or "nothing",
                ", ".join(_runs(method, given)),
                ", ".join("network" if part == "model" else part for part in alone),
            )
        )
    return rows


def _runs(method: Method, names: Iterable[str]) -> list[str]:
    """The names of taps, three or more stages of a network in a row as the first and the last."""
    left = dict.fromkeys(names)
    found = []
    for path, network in networks(method):
        taps = [f"{path} {stage.module}".strip() for stage in network.stages]
        held = [tap for tap in taps if tap in left]
        start = "".join(taps).find("".join(held)) if len(held) > 2 else -1
        if start >= 0:
            found.append(f"{held[0]} … {held[-1].removeprefix(path).strip()}")
            left = {name: None for name in left if name not in held}
    return [*found, *left]


def _compared(
    theirs: dict[str, int], ours: dict[str, int], key: str, power: int
) -> tuple[str, str, str]:
    a, b = theirs[key], ours[key]
    return f"{a / 10**power:,.2f}", f"{b / 10**power:,.2f}", f"{b / a:.2f}"
