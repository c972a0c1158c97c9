"""Tables of a run file as they are read: what those under [[before]] take over, and their names."""

import re
from typing import Any

OWN = ("method", "mix", "cache", "init", "before")
"""What a stage does not take over: what it trains, and what it starts from."""


def inherit(stage: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """A stage with all that it takes over; of [model] nothing where it has an `arch` of its own."""
    whole = {key: value for key, value in run.items() if key not in OWN}
    for key, value in stage.items():
        theirs = whole.get(key)
        if isinstance(value, dict) and isinstance(theirs, dict) and not _another(key, value):
            value = {**theirs, **value}
        whole[key] = value
    return whole


def own(stage: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """What `inherit` makes this stage of: that in which it is not as the run."""
    kept = {}
    for key, value in stage.items():
        theirs = None if key in OWN else run.get(key)
        if value == theirs:
            continue
        if isinstance(theirs, dict) and not _another(key, value):
            value = {name: each for name, each in value.items() if each != theirs.get(name)}
        kept[key] = value
    return kept


def _another(key: str, value: dict[str, Any]) -> bool:
    """Whether a table is of another network, whose options are not those of the run's."""
    return key == "model" and "arch" in value


def numbered(value: Any) -> Any:
    """A list of tables as a table of them, under "1", "2", …; anything else as it is."""
    if not (isinstance(value, list) and value and all(isinstance(each, dict) for each in value)):
        return value
    return {str(number): each for number, each in enumerate(value, start=1)}


def unnumbered(key: str) -> str:
    """The name of a setting without the stage that it stands in: `before.1.seed` is `seed`."""
    return re.sub(r"^before\.\d+\.", "", key)


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one: `{"optim": {"lr": 0.1}}` becomes `{"optim.lr": 0.1}`.

    The first of a list of tables becomes `before.1`, and so on.
    """
    settings: dict[str, Any] = {}
    for key, value in table.items():
        value = numbered(value)
        deeper = isinstance(value, dict)
        settings |= flat(value, f"{prefix}{key}.") if deeper else {prefix + key: value}
    return settings
