"""What a method remembers of every image."""

import pytest
import torch
from torch import nn

from cohobate.modules import Memory, memory_keys


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


def test_one_that_does_not_fit_is_refused_before_it_is_made():
    with pytest.raises(ValueError, match=r"memory of words: .* does not fit: .* MB are free"):
        Memory("words", 10**12, 1000)
    with torch.device("meta"):
        assert Memory("words", 10**12, 1000).rows.is_meta


def test_its_keys_are_found_wherever_it_is():
    module = nn.ModuleDict({"inner": nn.Sequential(Memory("words", 2, 1), nn.Linear(1, 1))})
    assert memory_keys(module) == {"inner.0.rows", "inner.0.steps"}
    assert memory_keys(Memory("words", 2, 1)) == {"rows", "steps"}
    assert memory_keys(module) < {*module.state_dict()}
