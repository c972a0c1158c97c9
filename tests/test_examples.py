"""The examples run as they stand."""

import json
import re

from places import ROOT
from processes import Command, Copy, Program

EXAMPLES = ROOT / "examples"


def shown(process: Copy) -> str:
    """What a process has printed, that should end well."""
    code, out, err = process.finish()
    assert code == 0, err
    return out


def test_plain_loop(tmp_path):
    said = shown(Program(EXAMPLES / "plain_loop.py", tmp_path))
    score = re.search(r"test top-1 ([\d.]+) %", said)
    assert score
    assert float(score[1]) > 30, "three times chance"
    assert (tmp_path / "out/plain_loop.pt").is_file()


def test_own_method_in_a_plain_loop(tmp_path):
    assert "confidence" in shown(Program(EXAMPLES / "own_method.py", tmp_path))


def test_own_method_in_the_engine(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    file, name = ROOT / "runs/smoke/classification.toml", "own_method:ConfidencePenalty"
    settings = [f"method.name={name}", "method.weight=0.2", "optim.epochs=1", "data.per_class=20"]
    shown(Command("train", file, *settings, cwd=tmp_path))
    metrics = tmp_path / "out/digits/cifar_resnet8/own_method.ConfidencePenalty/seed0/metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    assert {"train/ce", "train/confidence", "test/top1"} <= rows[-1].keys()
