"""What the training loop costs: ours against a bare one over the same forward, backward and step.

    python benchmarks/loop.py [--methods supervised,mixskd] [--compile]

The bare loop takes the same batches, clips, steps and does nothing else: it counts nothing, watches
nothing and shows nothing. Run it alone.
"""

import argparse
import tempfile
from collections.abc import Callable
from copy import deepcopy

import torch

from cohobate import fast
from cohobate.bench import setting
from cohobate.core import Progress
from cohobate.display import show
from cohobate.losses import total
from cohobate.stopwatch import Case, Ours, machine, rates


def bare(ours: Ours, compiled: bool) -> Callable[[], None]:
    """A loop by hand on a copy of the method, with batches from the same loader."""
    training = ours.training
    method = deepcopy(training.method)
    if compiled:
        fast.compile_whole(method)
    optimizer = torch.optim.SGD(
        method.parameters(), 1e-3, 0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    now = torch.tensor(0, device=training.fabric.device)
    progress = Progress(now, 1, now, 1)

    def step() -> None:
        batch = method.mixed(next(ours.batches))
        with training.fabric.autocast():
            losses = method(batch, progress)
        total(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default="supervised,mixskd")
    parser.add_argument("--model", default="cifar_resnet18")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    fabric, rows = machine().launch(), []
    for name in given.methods.split(","):
        case = Case(method=name, model=given.model, compile=given.compile)
        with tempfile.TemporaryDirectory() as folder:
            ours = Ours(case, fabric, folder)
            sides = (bare(ours, given.compile), ours.step)
            theirs, mine = rates(sides, case.batch_size, seconds=1.0, repeats=9)
        slower = 100 * (theirs / mine - 1)
        rows.append((name, f"{theirs:.1f}", f"{mine:.1f}", f"{slower:+.1f} %"))
    print(setting(case))
    show(["method", "bare images/s", "ours images/s", "slower by"], rows)


if __name__ == "__main__":
    main()
