"""The examples run as they stand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain_loop(tmp_path):
    shown = run(ROOT / "examples/plain_loop.py", cwd=tmp_path)
    score = re.search(r"test top-1 ([\d.]+) %", shown)
    assert score
    assert float(score[1]) > 30, "three times chance"
    assert (tmp_path / "out/plain_loop.pt").is_file()


def test_own_method_in_a_plain_loop(tmp_path):
    assert "confidence" in run(ROOT / "examples/own_method.py", cwd=tmp_path)


def test_own_method_in_the_engine(tmp_path):
    file, name = ROOT / "runs/smoke/classification.toml", "own_method:ConfidencePenalty"
    settings = [f"method.name={name}", "method.weight=0.2", "optim.epochs=1", "data.per_class=20"]
    path = str(ROOT / "examples")
    run("-m", "cohobate", "train", file, *settings, cwd=tmp_path, PYTHONPATH=path)
    metrics = tmp_path / "out/digits/cifar_resnet8/own_method.ConfidencePenalty/seed0/metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    assert {"train/ce", "train/confidence", "test/top1"} <= rows[-1].keys()
