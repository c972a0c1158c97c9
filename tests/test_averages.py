"""Runs that average their weights: what is exported, and that a stop changes nothing."""

import os
import signal

import torch
from safetensors.torch import load_file

from cohobate.engine import Training

GIVEN = ("data.fraction=0.4", "optim.schedule=constant", "optim.warmup=0")


def test_the_mean_of_the_last_epochs_is_exported(smoke, cohobate, tmp_path):
    """A rate that is constant makes a shorter run the beginning of a longer one."""
    for epochs in (2, 3):
        assert smoke(tmp_path / str(epochs), *GIVEN, "optim.swa=0.3", epochs=epochs).code == 0
    found = load_file(tmp_path / "3/model.safetensors")
    raw = [load_file(tmp_path / f"{epochs}/raw.safetensors") for epochs in (2, 3)]
    for key, value in found.items():
        if "running" not in key and value.is_floating_point():
            torch.testing.assert_close(value, (raw[0][key] + raw[1][key]) / 2, rtol=1e-5, atol=1e-6)
    norm = "stem.bn.running_var"
    assert not torch.allclose(found[norm], (raw[0][norm] + raw[1][norm]) / 2, rtol=1e-4)
    assert found["stem.bn.num_batches_tracked"] == 14  # the batches of an epoch
    ran = cohobate("evaluate", tmp_path / "3")
    assert ran.code == 0, ran.err


def test_a_run_that_was_stopped_ends_in_the_same_average(smoke, monkeypatch, tmp_path):
    """In the epoch that is only copied, in one that is averaged, and in the very last step."""
    given = (*GIVEN, "optim.swa=0.3", "checkpoint_every=5")
    assert smoke(tmp_path / "whole", *given, epochs=3).code == 0
    before = Training.advance

    def step(self, *arguments):
        before(self, *arguments)
        if self.step in (14, 17, 42):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", step)
    for _ in range(3):
        smoke(tmp_path / "cut", *given, epochs=3)
    monkeypatch.setattr(Training, "advance", before)
    assert smoke(tmp_path / "cut", *given, epochs=3).code == 0
    for name in ("model", "raw"):
        weights = [tmp_path / run / f"{name}.safetensors" for run in ("whole", "cut")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_two_averages_are_refused(smoke, tmp_path):
    ran = smoke(tmp_path / "run", "optim.swa=0.5", "optim.ema=0.9")
    assert ran.code == 2
    assert "optim.ema=0.9 and optim.swa=0.5 are two averages of the weights" in ran.err
    assert len(ran.err.splitlines()) == 1
