"""From starting the program to the first finished step, with an empty compile cache and a full one.

    python benchmarks/start.py [--methods supervised,mixskd] [--model cifar_resnet18]

Each start is a fresh process that imports everything, builds the method, compiles it and makes one
step. The second finds on the disk what the first one compiled. Run it alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from cohobate.bench import setting
from cohobate.display import show
from cohobate.stopwatch import Case, Ours, machine


def first_step(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Ours(case, machine().launch(), folder).step()


def seconds(case: Case, cache: str) -> float:
    """Seconds that a process of its own takes to make one step."""
    command = [sys.executable, __file__, "--methods", case.method, "--model", case.model, "--once"]
    began = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache})
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default="supervised,mixskd")
    parser.add_argument("--model", default="cifar_resnet18")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    cases = [
        Case(method=name, model=given.model, compile=True) for name in given.methods.split(",")
    ]
    if given.once:
        first_step(cases[0])
        return
    rows = []
    for case in cases:
        with tempfile.TemporaryDirectory() as cache:
            first, second = seconds(case, cache), seconds(case, cache)
        rows.append((case.method, f"{first:.1f}", f"{second:.1f}", f"{100 * second / first:.0f} %"))
    print(setting(cases[0]))
    show(["method", "first start, s", "second start, s", "second of first"], rows)


if __name__ == "__main__":
    main()
