"""Compiled or not: the same numbers, one graph, and a choice that is measured and said."""

from copy import deepcopy

import pytest
import torch
from lightning_fabric import Fabric
from torch._dynamo.utils import counters

from cohobate import fast
from cohobate.core import Progress
from cohobate.cost import example
from cohobate.fast import compiling
from cohobate.losses import total
from cohobate.methods import METHODS
from cohobate.models import Classifier

CLASSES, SIZE, ROWS = 5, 16, 8


def made(name: str):
    torch.manual_seed(0)
    network = Classifier("cifar_resnet8", CLASSES, size=SIZE)
    teacher = Classifier("cifar_resnet8", CLASSES, size=SIZE)
    given = {
        "hsakd": {"teacher": METHODS["hsakd_teacher"](teacher)} if name == "hsakd" else {},
        "pskd": {"samples": ROWS},
    }
    return METHODS[name](network, **given.get(name, {}))


@pytest.fixture
def decide(monkeypatch):
    """The decision, where passes take the seconds given, plain and compiled."""
    monkeypatch.setattr(compiling, "compile_whole", lambda method: None)

    def decide(plain: float, compiled: float, steps: int):
        times = iter((plain, compiled))
        monkeypatch.setattr(compiling, "_seconds", lambda *_: next(times))
        method = made("supervised")
        batch = example(method, SIZE, ROWS, "cpu")
        return fast.decide(method, Fabric(accelerator="cpu"), batch, steps, print)

    return decide


def test_a_short_run_is_not_worth_a_trial(decide):
    decision = decide(0.5, float("nan"), 100)
    assert decision == (False, "not compiled: 100 steps of 0.5 s are too few to gain")


@pytest.mark.parametrize(
    "compiled, choice, words", [(0.4, True, "compiled: "), (0.6, False, "not compiled: ")]
)
def test_what_was_faster_is_chosen_and_said(decide, compiled, choice, words):
    decision = decide(0.5, compiled, 10**6)
    assert decision.compile is choice
    assert decision.reason.startswith(f"{words}a step takes 0.5 s, compiled {compiled} s after ")


def test_a_compiler_that_fails_is_no_end(decide, monkeypatch):
    def fail(method):
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(compiling, "_pass", lambda method, *_: lambda: fail(method))
    decision = decide(0.5, 0.1, 10**6)
    assert decision == (False, "not compiled, because that failed: no C++ compiler")


def test_a_trial_leaves_no_trace():
    method = made("mixskd")
    before, random = deepcopy(method.state_dict()), torch.get_rng_state()
    fast.decide(method, Fabric(accelerator="cpu"), example(method, SIZE, ROWS, "cpu"), 1, print)
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in method.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixskd", "hsakd", "pskd"])
def test_compiled_code_computes_the_same(name):
    """Through the whole compiler, losses and gradients; and nothing is compiled twice."""
    torch.compiler.reset()
    counters.clear()
    plain = made(name)
    fast.prepare(plain)
    method = deepcopy(plain)
    fast.compile_whole(method)
    for step in range(3):
        batch = example(plain, SIZE, ROWS, "cpu")
        now = Progress(torch.tensor(step), 3, torch.tensor(7 * step), 21)
        losses, expected = method(batch, now), plain(batch, now)
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
        grads = []
        for of, terms in ((method, losses), (plain, expected)):
            of.zero_grad()
            total(terms.values()).backward()
            grads.append(
                torch.cat([p.grad.flatten() for p in of.parameters() if p.grad is not None])
            )
        ours, theirs = grads
        assert (ours - theirs).norm() < 5e-3 * theirs.norm()
        plain.load_state_dict(method.state_dict())
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
