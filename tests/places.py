"""Where things lie that tests read."""

import json
import os
from pathlib import Path
from typing import Any

from cohobate.methods import METHODS

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "runs" / "smoke" / "classification.toml"
DATA = Path(os.environ.get("COHOBATE_TEST_DATA", ROOT.parent / "shared" / "data"))

CLASSIFYING = [name for name, kind in METHODS.items() if "classification" in kind.tasks]
"""The methods that train classifiers."""


def rows(run: str | Path) -> list[dict[str, Any]]:
    """What a run left in its folder of every epoch."""
    lines = Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def smoke_and(path: Path, text: str) -> Path:
    """A run file at this path: the smoke run's, and more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SMOKE.read_text(encoding="utf-8") + text)
    return path
