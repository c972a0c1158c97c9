"""What a method remembers of every image."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cohobate.modules import Memory, check_memories, memory_keys


def test_rows_come_back_with_the_step_of_their_writing():
    memory = Memory("words", 6, 2)
    assert memory.read(torch.arange(6))[1].tolist() == [-1] * 6
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    memory.write(torch.tensor([4, 1]), rows, torch.tensor(7))
    read, steps = memory.read(torch.tensor([1, 4, 0]))
    assert read.tolist() == [[3, 4], [1, 2], [0, 0]]
    assert steps.tolist() == [7, 7, -1]
    assert not read.requires_grad


def test_of_an_image_that_comes_twice_the_later_is_kept():
    memory = Memory("words", 4, 1)
    memory.write(torch.tensor([2, 0, 2]), torch.tensor([[1.0], [2.0], [3.0]]), 0)
    assert memory.rows[:, 0].tolist() == [2, 0, 3, 0]


def test_it_says_what_it_costs():
    assert Memory("past predictions", 50_000, 10).note == (
        "memory of past predictions: 50,000 × 10 numbers, 2.0 MB"
    )


def test_those_that_do_not_fit_together_are_refused_before_they_are_made(monkeypatch):
    """Each of the two would fit, and both do not."""
    free = SimpleNamespace(available=10_000_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with torch.device("meta"):
        pair = nn.ModuleList(Memory(what, 1000, 2000) for what in ("words", "deeds"))
    check_memories(pair[0])
    told = r"memory of words: .*; memory of deeds: .*: 16.0 MB do not fit, 10.0 MB are free"
    with pytest.raises(ValueError, match=told):
        check_memories(pair)


def test_its_keys_are_found_wherever_it_is():
    module = nn.ModuleDict({"inner": nn.Sequential(Memory("words", 2, 1), nn.Linear(1, 1))})
    assert memory_keys(module) == {"inner.0.rows", "inner.0.steps"}
    assert memory_keys(Memory("words", 2, 1)) == {"rows", "steps"}
    assert memory_keys(module) < {*module.state_dict()}
