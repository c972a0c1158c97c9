"""A run file, read and checked: TOML to typed, frozen settings."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cohobate.core import Count, unknown
from cohobate.optim import Recipe

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


class EvalConfig(Table):
    """[eval]"""

    oracle: bool = False
    """Follow the test set after every epoch; such scores are labelled "oracle"."""
    batch_size: Count = 256


class RunConfig(Table):
    """A whole run file."""

    task: Literal["classification"] = "classification"
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    precision: Literal["auto", "bf16", "float32"] = "auto"
    compile: Literal["auto"] | bool = "auto"
    deterministic: bool = False
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Steps between checkpoints, besides the one after every epoch; 0 for none."""
    init: str | None = None
    """A run folder or .safetensors file whose network the run starts from."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    mix: MixConfig | None = None
    method: MethodConfig = Field(default_factory=MethodConfig)
    optim: Recipe = Field(default_factory=Recipe)
    eval: EvalConfig = Field(default_factory=EvalConfig)

    def toml(self) -> str:
        """This run file as text, every default written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def load(path: str | Path, overrides: Sequence[Override] = ()) -> RunConfig:
    """The settings of a run file, with overrides.

    `method.name=X` puts X's defaults in the place of the whole [method] table, and `mix.name=X`
    likewise; other overrides apply after that, wherever they stand. `mix.name=none` takes [mix]
    away. A table [sweep] is left to `cohobate.study`. Raises ValueError, naming the key, the value
    and the choices.
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
    try:
        return RunConfig.model_validate(table)
    except ValidationError as error:
        raise ValueError(
            f"{place}: " + "; ".join(explain(e, RunConfig) for e in error.errors())
        ) from None


def override(table: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A table with overrides."""
    pairs = [pair(given) if isinstance(given, str) else given for given in overrides]
    table = {k: dict(v) if isinstance(v, dict) else v for k, v in table.items()}
    for key, value in pairs:
        if key in ("method.name", "mix.name"):
            table[key.split(".")[0]] = {"name": value}
    for key, value in pairs:
        *path, last = key.split(".")
        inner = table
        for name in path:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{key}={value}: {name!r} is a value, not a table")
        inner[last] = value
    if isinstance(table.get("mix"), dict) and table["mix"].get("name") == "none":
        del table["mix"]
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


def explain(error: Any, root: type[BaseModel]) -> str:
    """One of pydantic's errors as a sentence."""
    path = [part for part in error["loc"] if isinstance(part, str)]
    path = [part for part in path if not part.startswith(("literal[", "constrained", "tuple["))]
    key = ".".join(path)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        place = f"setting of [{'.'.join(path[:-1])}]" if path[:-1] else "setting"
        return str(unknown(place, path[-1], _names(root, path[:-1])))
    if error["type"] == "missing":
        return f"{key} is missing"
    shown = error["input"] if not isinstance(error["input"], dict) else "{…}"
    return f"{key}={shown}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _names(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The settings that the table at `path` knows."""
    kind: Any = root
    for name in path:
        kind = kind.model_fields[name].annotation
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    return list(fields)


INERT = (
    "checkpoint_every",
    "data.download",
    "data.root",
    "data.workers",
    "eval.batch_size",
)
"""Settings that make no other run: a run goes on, and is compared, whatever they say."""


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two tables, but for `INERT`, a line each: `optim.epochs: 40 → 80`."""
    lines = []
    for key in sorted({*old, *new}):
        a, b, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{name}.")
        elif a != b and name not in INERT:
            lines.append(
                f"{name}: {'not set' if a is None else a} → {'not set' if b is None else b}"
            )
    return lines
