"""A run's folder: what lies in it, and how it is written so that nothing is ever half there."""

import json
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file


class RunDir:
    """The folder of one run.

    Every file is written under another name first and then renamed, so that a run that is killed
    leaves whole files behind. Raises OSError where the folder cannot be written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.environment = self.path / "environment.json"
        self.splits = self.path / "splits.json"
        self.metrics = self.path / "metrics.jsonl"
        self.outcomes = self.path / "outcomes.json"
        self.last = self.path / "last.ckpt"
        self.previous = self.path / "previous.ckpt"
        self.model = self.path / "model.safetensors"
        self.raw_model = self.path / "raw.safetensors"
        self.method = self.path / "method.safetensors"
        self.frozen = self.path / "frozen.safetensors"
        self.teacher = self.path / "teacher"
        self.loggers = self.path / "loggers.json"

    @property
    def done(self) -> bool:
        """Whether the run has left all that it leaves at its end."""
        return self.model.is_file() and self.method.is_file()

    def write(self, path: Path, text: str) -> None:
        """Writes a text file of this folder, or of one in it, all or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)

    def write_tensors(self, path: Path, state: dict[str, torch.Tensor]) -> None:
        """Writes a .safetensors file of this folder, all or nothing."""
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        save_file(state, temporary)
        os.replace(temporary, path)

    def read(self, path: Path) -> dict[str, Any]:
        """The table in a .json file of this folder; an empty one where it is not there.

        Raises ValueError where it is damaged.
        """
        if not path.exists():
            return {}
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if not isinstance(table, dict):
            raise ValueError(f"{path} is damaged: it holds no table")
        return table

    def facts(self) -> dict[str, Any]:
        """What `environment.json` holds. Raises ValueError where it is damaged."""
        return self.read(self.environment)

    def write_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Writes `metrics.jsonl` anew: one row an epoch."""
        self.write(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; none where it is not there."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def save(self, state: dict[str, Any]) -> None:
        """Writes a checkpoint; the one before it stays as `previous.ckpt`."""
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.last.with_name("last.ckpt.tmp")
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's writer reports a full disk in its own way
            temporary.unlink(missing_ok=True)
            raise OSError(f"{temporary} could not be written: {error}".splitlines()[0]) from error
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        if self.last.exists():
            os.replace(self.last, self.previous)
        os.replace(temporary, self.last)

    def load(self) -> dict[str, Any] | None:
        """The state of the last checkpoint, on the CPU; None where there is none.

        Raises ValueError for a damaged one, naming it and the last good one.
        """
        path = self.last if self.last.exists() else self.previous
        if not path.exists():
            return None
        damage = _damage(path)
        if damage is None:
            return torch.load(path, map_location="cpu", weights_only=True)
        good = self.previous.exists() and path != self.previous and not _damage(self.previous)
        advice = (
            f"the last good one is {self.previous}: `mv {self.previous} {path}` and run the same"
            " command again to go on from it"
            if good
            else f"there is no other: `rm -r {self.path}` starts the run anew"
        )
        raise ValueError(f"checkpoint {path} is damaged ({damage}); {advice}")


def part(name: str) -> str:
    """A name as one part of a path."""
    return re.sub(r"[^\w.=+-]+", "_", name.replace(":", "."))


def check_folder(path: Path, setting: str = "--out DIR") -> None:
    """Raises ValueError where a folder, as `setting` names it, cannot be written to, or even made."""
    for place in (path, *path.parents):
        try:
            if place.exists():
                TemporaryDirectory(dir=place).cleanup()
                return
        except OSError as error:
            a_file = isinstance(error, NotADirectoryError)
            reason = f"{place} is a file" if a_file else f"{place}: {error.strerror}"
            raise ValueError(
                f"the folder {path} cannot be written to ({reason}): name another with {setting}"
            ) from error


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint: it is a zip file with a checksum for each tensor."""
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        return str(error) or type(error).__name__
    return f"the checksum of {broken} does not match" if broken else None
