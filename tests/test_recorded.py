"""Which images a run began with, held against those that it is looked at on."""

from pathlib import Path

import pytest
import torch

from cohobate.data.splits import Split
from cohobate.recorded import doubts, record_data
from cohobate.rundir import RunDir


class Data:
    """As much of a data set as is recorded: its splits."""

    def __init__(self, train: Split, test: Split):
        self.train, self.val, self.test = train, None, test


def files(*names: str) -> Split:
    """Files `a/NAME`, of one class, in some folder."""
    return Split([Path("somewhere", "a", name) for name in names], torch.zeros(len(names)).long())


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / "run")
    record_data(found, Data(files("1", "2", "3"), files("4", "5")))
    return found


def test_the_images_of_the_run_raise_no_doubt(run):
    assert doubts(run, "test", files("4", "5")) == []
    assert doubts(run, "train", files("1", "2", "3")) == []


def test_files_of_names_that_were_learnt_are_counted(run):
    (said,) = doubts(run, "test", files("3", "2", "5", "6"))
    assert said.startswith("warning: 2 of these 4 test images have the names of images that")
    assert doubts(run, "test", files("4", "6")) == []
    assert doubts(run, "val", files("8")) == []


def test_images_without_names_may_have_been_learnt(run, tmp_path):
    images = [Split(torch.full((2, 3, 8, 8), k).byte(), torch.zeros(2).long()) for k in range(3)]
    (said,) = doubts(run, "test", images[0])
    assert said.startswith("warning: these are not the test images that")
    nameless = RunDir(tmp_path / "nameless")
    record_data(nameless, Data(*images[:2]))
    assert doubts(nameless, "test", images[1]) == []
    assert doubts(nameless, "test", images[2]) == [said.replace(str(run.path), str(nameless.path))]
    assert len(doubts(nameless, "test", files("1"))) == 1


def test_what_has_no_record_raises_no_doubt(tmp_path):
    assert doubts(RunDir(tmp_path), "test", files("1")) == []
