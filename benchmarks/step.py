"""How much faster a training step is than the same method as torch comes: eager, contiguous, float32.

    python benchmarks/step.py [--methods mixskd,kd] [--compile]

Ours is the product's whole loop, with its loader. The reference has one batch of 64 that is always
at hand, and reads every loss after each step, as most training scripts do. Both run in this
process, with the same threads. Run it alone: a busy core makes torch many times slower.
"""

import argparse
import tempfile

from cohobate.bench import setting
from cohobate.display import show
from cohobate.stopwatch import Case, Ours, Reference, machine, rates

CASES = {
    "supervised": ("cifar_resnet18", None),
    "mixskd": ("cifar_resnet18", None),
    "frskd": ("cifar_resnet18", None),
    "kd": ("cifar_resnet8x4", "cifar_resnet32x4"),
    "hsakd": ("cifar_wrn_16_2", "cifar_wrn_40_2"),
}
"""The network of each method, and its teacher's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=",".join(CASES))
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    fabric, rows = machine().launch(), []
    for name in given.methods.split(","):
        model, teacher = CASES[name]
        case = Case(method=name, model=model, teacher=teacher, compile=given.compile)
        with tempfile.TemporaryDirectory() as folder:
            sides = (Reference(case, fabric).step, Ours(case, fabric, folder).step)
            theirs, mine = rates(sides, case.batch_size)
        rows.append((name, model, f"{theirs:.1f}", f"{mine:.1f}", f"{mine / theirs:.2f}"))
    print(setting(case).partition(", ")[2])
    show(["method", "network", "reference images/s", "ours images/s", "ratio"], rows)


if __name__ == "__main__":
    main()
