"""Whole published schedules, timed: CIFAR-100 on ResNet-18, supervised and MixSKD, made for a GPU.

    python benchmarks/schedule.py [--seeds 1] [--out out/schedule] data.root=data [KEY=VALUE]...

Prints minutes and the last epoch's test accuracy of each run, then what `cohobate bench` says of
this machine. A run that was stopped goes on where it was, and its minutes add up. On a processor alone the
full schedules take days; `data.fraction=0.02 optim.epochs=1` shows that it works.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from cohobate import bench, config, defaults
from cohobate.cli.app import display
from cohobate.display import show
from cohobate.stopwatch import Case
from cohobate.train import train

RUNS = Path(__file__).parents[1] / "runs" / "cifar100" / "resnet18"
METHODS = ("supervised", "mixskd")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/schedule"))
    parser.add_argument("--compile", action="store_true", help="of the rates after the runs")
    parser.add_argument("settings", nargs="*")
    given = parser.parse_args()
    table = []
    for name in METHODS:
        minutes, scores = [], []
        for seed in range(given.seeds):
            asked = [*given.settings, f"seed={seed}"]
            resolved, _ = defaults.resolve(config.load(RUNS / f"{name}.toml", asked))
            folder = given.out / f"{name}-seed{seed}"
            rows = train(resolved, folder, devices=1, display=display(epochs=False))
            minutes.append(sum(row["seconds"] for row in rows) / 60)
            scores.append(100 * rows[-1]["test/top1"])
        spread = f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""
        epochs = str(resolved.optim.epochs)
        table.append((name, epochs, f"{mean(minutes):.1f}", f"{mean(scores):.2f}{spread}"))
    cases = [Case(method=name, model="cifar_resnet18", compile=given.compile) for name in METHODS]
    print(bench.setting(cases[0]))
    show(["method", "epochs", "minutes", "test top1 %"], table)
    rates, _ = bench.bench(cases, display())
    show(bench.HEADINGS, bench.lines(rates))


if __name__ == "__main__":
    main()
