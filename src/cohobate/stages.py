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


def located(config: RunConfig, home: Path) -> RunConfig:
    """The settings of a run, or of a stage, with folders in `home` where they name a stage.

    Raises ValueError where they name one that is not before it.
    """
    folders = [folder for folder, _ in stages(config, home)]
    changed: dict[str, Any] = {}
    if config.init:
        changed["init"] = _located("init", config.init, folders)
    if teacher := config.method.options.get("teacher"):
        folder = _located("method.teacher", str(teacher), folders)
        changed["method"] = config.method.model_copy(update={"teacher": folder})
    return config.model_copy(update=changed)


def _located(key: str, reference: str, folders: Sequence[Path]) -> str:
    if not reference.startswith("@"):
        return reference
    names = [f"@{number}" for number, _ in enumerate(folders, start=1)]
    if reference not in names:
        there = f"{', '.join(names)} may be named" if names else "there is none"
        raise ValueError(f"{key}={reference}: of the [[before]] tables that come before, {there}")
    return str(folders[names.index(reference)])
