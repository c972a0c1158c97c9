"""A run file, read and checked: TOML to typed, frozen settings."""

import json
import tomllib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cohobate.core import Count, counted
from cohobate.mistakes import sentences
from cohobate.optim import Recipe
from cohobate.tables import inherit, numbered, own, unnumbered

T = TypeVar("T", bound=BaseModel)

Override = str | tuple[str, Any]
"""A setting: `key=value`, with a value that is TOML, else text; or the key and the value."""


class Table(BaseModel):
    """A table of a run file; a name that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OpenTable(BaseModel):
    """A table whose other names are handed on, and checked by what receives them."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ModelConfig(OpenTable):
    """[model]; other names are timm's own options, such as `drop_path_rate`."""

    arch: str = "cifar_resnet18"
    pretrained: bool = False
    freeze: Annotated[int, Ge(0)] | Literal["backbone"] = 0
    """How many stages, with all before them, do not learn; "backbone": all but the classifier."""


class DataConfig(Table):
    """[data]"""

    name: str = "digits"
    root: str | None = None
    download: bool = False
    batch_size: Count = 64
    """Images a batch, over all processes together."""
    augment: tuple[str, ...] | None = None
    size: Annotated[int, Ge(8)] | None = None
    val: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the training set that is cut off for validation."""
    per_class: Count | None = None
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: Annotated[int, Ge(0), Lt(2**63)] | None = None
    """Of the cuts (`val`, `fraction`, `per_class`); by default the run's own. A number lets runs of
    different seeds, and their teacher, share the same images."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """How often each class is drawn, relative to its share of the training set."""
    skip_bad: bool = False
    workers: Annotated[int, Ge(0)] | None = None


class MixConfig(OpenTable):
    """[mix]; other names are options of the mixing."""

    name: str


class MethodConfig(OpenTable):
    """[method]; other names are options of the method."""

    name: str = "supervised"


class CacheConfig(Table):
    """[cache]: what a frozen teacher says of the training images, kept on disk from run to run."""

    folder: str
    """Where it lies. What is there is read, and the teacher is not asked; what is not is written."""
    top: Count = 100
    """How many of an image's classes, the likeliest; the others share equally what is left."""


class EvalConfig(Table):
    """[eval]"""

    oracle: bool = False
    """Follow the test set after every epoch; such scores are labelled "oracle"."""
    batch_size: Count = 256
    window: Annotated[int, Ge(8)] | None = None
    """Show images by squares of so many pixels, for segmentation; else whole."""
    stride: Count | None = None
    """From one such square to the next, in pixels; by default two thirds of one."""
    flip: bool | None = None
    """Take the mean with the answer to the mirror image."""
    scales: Annotated[tuple[Annotated[float, Gt(0), Le(8)], ...], MinLen(1)] | None = None
    """Take the mean over these multiples of `data.size`."""


class RunConfig(Table):
    """A whole run file."""

    task: Literal["classification", "segmentation", "detection"] = "classification"
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    precision: Literal["auto", "bf16", "float32"] = "auto"
    compile: Literal["auto"] | bool = "auto"
    deterministic: bool = False
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Steps between checkpoints, besides the one after every epoch; 0 for none."""
    log: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """What is told of every epoch, besides `metrics.jsonl`."""
    init: str | None = None
    """A run folder or checkpoint file whose network, normalisation included, the run starts from."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    mix: MixConfig | None = None
    method: MethodConfig = Field(default_factory=MethodConfig)
    optim: Recipe = Field(default_factory=Recipe)
    cache: CacheConfig | None = None
    eval: EvalConfig = Field(default_factory=EvalConfig)
    before: "tuple[Stage, ...] | None" = None
    """[[before]]: what is trained first; `@1` names the first of them in `teacher` and `init`."""

    def toml(self) -> str:
        """This run file as text, every default written out; of a stage what it does not take over."""
        table = self.model_dump(mode="json", exclude_none=True)
        if self.before:
            table["before"] = [own(stage, table) for stage in table["before"]]
        return tomli_w.dumps(table)

    def stage(self, number: int) -> "RunConfig":
        """A stage, counted from 1, as a run by itself, which the stages before it precede."""
        assert self.before
        chosen = self.before[number - 1]
        given = {name: getattr(chosen, name) for name in RunConfig.model_fields}
        return RunConfig.model_construct(**{**given, "before": self.before[: number - 1] or None})


class Stage(RunConfig):
    """A table of [[before]]; what it does not say is as in the run that it stands in."""

    name: str | None = None
    """Of its folder, after its number; by default that of its method."""

    @property
    def title(self) -> str:
        return self.name or self.method.name


def load(path: str | Path, overrides: Sequence[Override] = ()) -> RunConfig:
    """The settings of a run file, with overrides.

    `method.name=X` puts X's defaults in the place of the whole [method] table, unless that is of X
    already, and takes the stages away that nothing names any more; `mix.name=X` likewise; other
    overrides apply after that, wherever they stand. `mix.name=none` takes [mix] away. What is set
    for the run holds for its stages too, where they do not set it themselves.
    A table [sweep] is left to `cohobate.planning`. Raises ValueError, naming the key, the value and
    the choices.
    """
    table = override(read(path), overrides)
    table.pop("sweep", None)
    return parse(table, str(path))


def read(path: str | Path) -> dict[str, Any]:
    """The table of a run file, or of the run in a folder. Raises ValueError, naming it."""
    path = Path(path)
    if path.is_dir():
        path = path / "config.toml"
    if not path.is_file():
        near = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        hint = f"; in that folder there are {', '.join(near[:8])}" if near else ""
        raise ValueError(f"there is no run file {path}{hint}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"run file {path} is not valid TOML: {error}") from error


def parse(table: dict[str, Any], place: str) -> RunConfig:
    """Typed settings of a table as read from TOML. Raises ValueError, naming `place`."""
    stages = table.get("before") or []
    if numbered(stages) is stages and stages:
        raise ValueError(f"{place}: before: input should be tables, each under [[before]]")
    run = _typed(RunConfig, {k: v for k, v in table.items() if k != "before"}, place)
    if not stages:
        return run
    typed = []
    for number, stage in enumerate(stages, start=1):
        prefix = f"before.{number}."
        if "before" in stage:
            raise ValueError(f"{place}: {prefix}before: stages stand in the run file one by one")
        typed.append(_typed(Stage, inherit(stage, table), place, prefix))
    return run.model_copy(update={"before": tuple(typed)})


def _typed(kind: type[T], table: dict[str, Any], place: str, prefix: str = "") -> T:
    try:
        return check(kind, table)
    except ValidationError as error:
        raise ValueError(f"{place}: {sentences(error, kind, prefix)}") from None


def check(kind: type[T], table: dict[str, Any]) -> T:
    """A table as a model. A switch is no number, nor a number a switch; a list will do for a tuple.

    Those are pydantic's strict rules for JSON. Raises ValidationError.
    """
    return kind.model_validate_json(json.dumps(table, default=str), strict=True)


def override(table: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A table with overrides; `before.1.` stands before those of its first stage."""
    pairs = [pair(given) if isinstance(given, str) else given for given in overrides]
    table = deepcopy(table)
    other = False
    for key, value in pairs:
        if unnumbered(key) in ("method.name", "mix.name"):
            *path, last, _ = key.split(".")
            tables = _inside(table, path, f"{key}={value}")
            there = tables.get(last)
            if not isinstance(there, dict) or there.get("name") != value:
                tables[last] = {"name": value}
                other |= key == "method.name"
    for key, value in pairs:
        *path, last = key.split(".")
        _inside(table, path, f"{key}={value}")[last] = value
    stages = numbered(table.get("before"))
    for each in (table, *(stages.values() if isinstance(stages, dict) else ())):
        if isinstance(each.get("mix"), dict) and each["mix"].get("name") == "none":
            del each["mix"]
    if other and isinstance(table["method"], dict):
        named = (table.get("init"), table["method"].get("teacher"))
        if not any(str(each).startswith("@") for each in named):
            table.pop("before", None)
    return table


def _inside(table: dict[str, Any], path: Sequence[str], given: str) -> dict[str, Any]:
    """The table that a path leads to, made where it is not there. Raises ValueError for a value."""
    if path[:1] == ["before"]:
        stages = numbered(table.get("before"))
        stages = stages if isinstance(stages, dict) else {}
        if len(path) < 2 or path[1] not in stages:
            raise ValueError(
                f"{given}: this run has {counted(len(stages), '[[before]] table')}; before.1.KEY=VALUE sets"
                " something of the first"
            )
        table, path = stages[path[1]], path[2:]
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{given}: {name!r} is a value, not a table")
    return table


def pair(text: str) -> tuple[str, Any]:
    """`key=value` as a key and a value: TOML, else text. Raises ValueError without a key."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"{text!r} is no setting: write key=value, such as optim.epochs=10")
    try:
        return key.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


INERT = (
    "cache.folder",
    "checkpoint_every",
    "data.download",
    "data.root",
    "data.workers",
    "eval.batch_size",
    "log",
)
"""Settings that make no other run: a run goes on, and is compared, whatever they say."""


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two tables, but for `INERT`, a line each: `optim.epochs: 40 → 80`."""
    lines = []
    for key in sorted({*old, *new}):
        a, b, name = numbered(old.get(key)), numbered(new.get(key)), f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{name}.")
        elif a != b and unnumbered(name) not in INERT:
            lines.append(
                f"{name}: {'not set' if a is None else a} → {'not set' if b is None else b}"
            )
    return lines
