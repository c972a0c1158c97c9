"""Stages of one run: where they lie in its folder, and what `@1` names in a setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cohobate.config import RunConfig
from cohobate.rundir import part


def stages(config: RunConfig, home: Path) -> list[tuple[Path, RunConfig]]:
    """What is trained before a run, each with its folder in `home`, the folder of the whole."""
    return [
        (home / f"{number}-{part(stage.title)}", config.stage(number))
        for number, stage in enumerate(config.before or (), start=1)
    ]


def located(
    config: RunConfig, home: Path, none: str = "this run file has no [[before]] stage"
) -> RunConfig:
    """The settings of a run, or of a stage, with folders in `home` where they name a stage.

    none: what is the matter where nothing comes before it. Raises ValueError where the settings name
    a stage that is not before it.
    """
    folders = [folder for folder, _ in stages(config, home)]
    changed: dict[str, Any] = {}
    if config.init:
        changed["init"] = _located("init", config.init, folders, none)
    if teacher := config.method.options.get("teacher"):
        folder = _located("method.teacher", str(teacher), folders, none)
        changed["method"] = config.method.model_copy(update={"teacher": folder})
    return config.model_copy(update=changed)


def _located(key: str, reference: str, folders: Sequence[Path], none: str) -> str:
    if not reference.startswith("@"):
        return reference
    names = [f"@{number}" for number, _ in enumerate(folders, start=1)]
    if reference not in names:
        there = f"of the [[before]] tables that come before, {', '.join(names)} may be named"
        raise ValueError(f"{key}={reference}: {there if names else none}")
    return str(folders[names.index(reference)])
