"""What the methods are and take, as people read it."""

import inspect
import re
from dataclasses import asdict
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cohobate.build import find_method, teacher_choices
from cohobate.core import Method


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
                lines.append(f'teacher = "…"  # {teacher_choices(hints[key])}')
                continue
            default = parameter.default
            if default is None:
                lines.append(f"# {key} is left away, or: {_kind(hints[key])}")
                continue
            value = (
                str(default).lower()
                if isinstance(default, bool)
                else repr([*default] if isinstance(default, tuple) else default).replace("'", '"')
            )
            lines.append(f"{key} = {value}  # {_kind(hints[key])}")
    return "\n".join(lines)


def _kind(hint: Any) -> str:
    """An option's type as people read it: `float, > 0` or `"paper" or "released"`."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_kind(part) for part in get_args(hint) if part is not type(None))
    base, *bounds = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(base) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(base))
    if get_origin(base) is tuple:
        return f"list of {_kind(get_args(base)[0])}"
    signs = {"Gt": ">", "Ge": "≥", "Lt": "<", "Le": "≤"}
    limits = [f"{signs[type(b).__name__]} {next(iter(asdict(b).values()))}" for b in bounds]
    return ", ".join([getattr(base, "__name__", str(base)), *limits])
