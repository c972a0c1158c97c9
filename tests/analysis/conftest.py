"""Run folders as a training leaves them, without the training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from cohobate.outcomes import Outcomes

ENVIRONMENT = {
    "command": "cohobate train run.toml",
    "date": "2026-01-05T10:00:00",
    "cohobate": "0.1.0",
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "timm": "1.0.15",
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "processor": "AMD EPYC 7763",
    "cores": 2,
    "threads": 2,
    "devices": 1,
    "precision": "32-true",
    "compile": True,
    "cost": {
        "parameters": 278_324,
        "trained_parameters": 278_324,
        "macs": 41_300_000,
        "step_macs": 240_000_000,
        "supervised_macs": 120_000_000,
    },
}

MakeRun = Callable[..., Path]


def metrics(epochs: int, top1: list[float], test: float | None, losses: dict[str, list[float]]):
    rows: list[dict[str, Any]] = [
        {
            "epoch": epoch,
            "step": 20 * (epoch + 1),
            "lr": 0.1,
            **{f"train/{name}": values[epoch] for name, values in losses.items()},
            **({"val/top1": top1[epoch]} if top1 else {}),
            "images_per_second": 100.0 * (epoch + 1),
            "seconds": 30.0,
            "data_wait": 0.01,
        }
        for epoch in range(epochs)
    ]
    if test is not None:
        rows[-1]["test/top1"] = test
    return rows


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder of three epochs; keywords say in what it is special.

    right: the answers to the test images, of which `images` is the fingerprint; the accuracy is
        theirs then. last: what the last row holds besides.
    """

    def make(
        name: str = "",
        method: str = "supervised",
        seed: int = 1,
        test: float | None = 0.8,
        top1: tuple[float, ...] = (0.5, 0.7, 0.6),
        losses: tuple[str, ...] = ("ce",),
        options: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        right: Sequence[bool] | None = None,
        images: str = "0123456789abcdef",
        last: dict[str, float] | None = None,
    ) -> Path:
        if right is not None:
            test = float(np.mean(right))
        path = tmp_path / (name or f"{method}/seed{seed}")
        path.mkdir(parents=True)
        settings = {
            "task": "classification",
            "seed": seed,
            "model": {"arch": "cifar_resnet8"},
            "data": {"name": "digits", "batch_size": 64, "augment": ["crop", "flip"], "val": 0.1},
            "method": {"name": method, **(options or {})},
            "optim": {"epochs": 3, "lr": 0.1},
        }
        terms = {loss: [2.0, 1.0, 0.5] for loss in losses}
        rows = metrics(3, list(top1), test, terms)
        rows[-1] |= last or {}
        (path / "config.toml").write_text(tomli_w.dumps(settings | (config or {})))
        (path / "environment.json").write_text(json.dumps(ENVIRONMENT | (environment or {})))
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if right is not None:
            outcomes = Outcomes(images, np.array(right, bool)).table()
            (path / "outcomes.json").write_text(json.dumps(outcomes))
        return path

    return make
