"""The most memory that a process held, against blocks of known size."""

import json
from pathlib import Path

import torch

from cohobate.peak import PeakMemory

CPU = torch.device("cpu")
MEGA = 2**20


def test_what_was_held_and_freed_again_is_seen():
    memory = PeakMemory(CPU)
    torch.ones(64 * MEGA, dtype=torch.uint8)
    assert 60 * MEGA < memory.used() < 120 * MEGA


def test_what_was_freed_before_does_not_hide_what_comes():
    blocks = [torch.ones(MEGA, dtype=torch.uint8) for _ in range(64)]
    del blocks
    memory = PeakMemory(CPU)
    blocks = [torch.ones(MEGA, dtype=torch.uint8) for _ in range(64)]
    assert memory.used() > 48 * MEGA, len(blocks)


def test_a_run_says_what_it_held(smoke):
    ran = smoke("run", "data.per_class=8", "compile=false")
    assert ran.code == 0, ran.err
    facts = json.loads(Path("run/environment.json").read_text(encoding="utf-8"))
    assert MEGA < facts["peak_memory_bytes"] < 4096 * MEGA
