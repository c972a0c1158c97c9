"""What is wrong with a table of settings, in the words of a run file."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cohobate.core import unknown
from cohobate.tables import unnumbered

LISTS = {
    "data.augment": """'["crop", "flip"]'""",
    "data.class_weights": "'[1, 0.5, 2]'",
    "eval.scales": "'[0.75, 1, 1.25]'",
    "log": """'["tensorboard"]'""",
    "optim.milestones": "'[100, 150]'",
}
"""What the lists among the settings look like on a command line."""
PLAINLY = {"bool_type": "true or false", "dataclass_type": "a table", "model_type": "a table"}
"""What pydantic says in the words of Python, in those of a run file."""


def sentences(error: ValidationError, root: type[BaseModel], prefix: str = "") -> str:
    """Pydantic's errors as sentences, one for each setting; `prefix` stands before its name."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for each in error.errors():
        found.setdefault(_setting(each["loc"], root), []).append(each)
    return "; ".join(_sentence(prefix, path, errors, root) for path, errors in found.items())


def _sentence(prefix: str, path: tuple[str, ...], errors: list[Any], root: type[BaseModel]) -> str:
    """What is wrong with one setting: each error names something else that it might have been."""
    key, kind = prefix + ".".join(path), errors[0]["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        *tables, name = path
        table: Any = root
        for part in tables:
            table = _settings(table)[part]
        inside = (prefix + ".".join(tables)).removesuffix(".")
        place = f"setting of [{inside}]" if inside else "setting"
        known = _settings(table)
        within = [f"{part}.{name}" for part in known if name in _settings(known[part])]
        if within and not tables:
            meant = " or ".join(repr(prefix + each) for each in within)
            return f"unknown setting {prefix + name!r}: did you mean {meant}?"
        return str(unknown(place, name, known))
    if kind == "missing":
        return f"{key} is missing"
    items = [each for each in errors if isinstance(each["loc"][-1], int)]
    first, *others = [_wanted(key, each) for each in items or errors]
    choices = [first, *(other.removeprefix("input should be ") for other in others)]
    value = (items or errors)[0]["input"]
    shown = "{…}" if isinstance(value, dict) else str(value)
    place = f"{key}[{items[0]['loc'][-1]}]" if items else key
    return f"{place}={shown.lower() if isinstance(value, bool) else shown}: {' or '.join(choices)}"


def _wanted(key: str, error: Any) -> str:
    """What one of pydantic's errors asks for, in the words of a run file."""
    if error["type"] == "tuple_type":
        example = LISTS.get(unnumbered(key))
        return "input should be a list" + (f", such as {example}" if example else "")
    if error["type"] in PLAINLY:
        return f"input should be {PLAINLY[error['type']]}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}"


def _setting(loc: Sequence[Any], root: type[BaseModel]) -> tuple[str, ...]:
    """The path of the setting that an error is about; `loc` goes on to the kinds that were tried."""
    path, table = [], root
    for part in loc:
        if not (names := _settings(table)):
            break
        path.append(part)
        table = names.get(part)
    return tuple(path)


def _settings(table: Any) -> dict[str, Any]:
    """What each setting of a table may be; nothing where it is no table."""
    for kind in (table, *get_args(table)):  # [mix] may be None
        if is_dataclass(kind):
            return {field.name: field.type for field in fields(kind)}
        if known := getattr(kind, "model_fields", None):
            return {name: field.annotation for name, field in known.items()}
    return {}
