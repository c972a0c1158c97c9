"""Whether the fast path ends as accurate as eager, contiguous float32: both, over several seeds.

    python benchmarks/accuracy.py [--methods supervised,mixskd] [--seeds 3] [--epochs 15] [KEY=VALUE]...

The handwritten digits that scikit-learn ships, 20 labelled images a class, `cifar_resnet8`; settings
of a run file can be given. Prints the last epoch's test accuracy, mean ± sd.
"""

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path
from statistics import mean, stdev
from unittest.mock import Mock, patch

from cohobate import config, defaults, fast
from cohobate.display import Silent, show
from cohobate.train import train

RUN = """
[model]
arch = "cifar_resnet8"
[data]
name = "digits"
per_class = 20
batch_size = 20
[method]
name = "supervised"
"""


def accuracy(settings: list[str], plain: bool, folder: Path) -> float:
    """The test accuracy of a run; `plain`: nothing is done to the method before it trains."""
    file = folder / "run.toml"
    file.write_text(RUN, encoding="utf-8")
    if plain:
        settings = [*settings, "precision=float32"]
    resolved, _ = defaults.resolve(config.load(file, settings))
    with patch.multiple(fast, prepare=Mock(), fold=Mock()) if plain else nullcontext():
        rows = train(resolved, folder / "run", devices=1, display=Silent())
    return rows[-1]["test/top1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default="supervised,mixskd")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("settings", nargs="*")
    given = parser.parse_args()
    rows = []
    for name in given.methods.split(","):
        found: list[str] = []
        for plain in (True, False):
            scores = []
            for seed in range(given.seeds):
                asked = [f"method.name={name}", f"seed={seed}", f"optim.epochs={given.epochs}"]
                with tempfile.TemporaryDirectory() as folder:
                    scores.append(accuracy([*asked, *given.settings], plain, Path(folder)))
            spread = stdev(scores) if len(scores) > 1 else 0.0
            found.append(f"{100 * mean(scores):.2f} ± {100 * spread:.2f}")
        rows.append((name, *found))
    show(["method", "eager float32, top1 %", "fast path, top1 %"], rows)


if __name__ == "__main__":
    main()
