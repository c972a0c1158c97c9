"""Scoring a network, and reading its features, against the same in eager, contiguous float32.

    python benchmarks/evaluation.py [--model cifar_resnet18] [--images 1024]

Ours is what `cohobate evaluate` and `cohobate analyse` run. The reference predicts in batches of the
same size, without gradient, and computes nothing but the top-1 accuracy. Run it alone.
"""

import argparse

import torch

from cohobate import fast
from cohobate.analysis import embedding
from cohobate.bench import setting
from cohobate.data.loader import EvalLoader
from cohobate.data.splits import Split
from cohobate.display import show
from cohobate.evaluate import classification
from cohobate.models import Classifier
from cohobate.stopwatch import Case, machine, rates

BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="cifar_resnet18")
    parser.add_argument("--images", type=int, default=1024)
    given = parser.parse_args()
    fabric = machine().launch()
    case = Case(model=given.model, batch_size=BATCH)
    images = torch.randint(256, (given.images, 3, case.size, case.size)).byte()
    split = Split(images, torch.arange(given.images) % case.classes)
    plain = Classifier(given.model, case.classes).to(fabric.device).eval()
    quick = Classifier(given.model, case.classes).to(fabric.device)
    fast.prepare(quick)

    def batches() -> EvalLoader:
        return EvalLoader(split, size=case.size, batch_size=BATCH, device=fabric.device)

    @torch.no_grad()
    def predict() -> None:
        right = sum((plain(b.images).argmax(1) == b.targets).sum() for b in batches())
        float(right)

    @torch.no_grad()
    def features() -> None:
        torch.cat([plain.trace(b.images).embedding for b in batches()])

    rows = []
    for name, theirs, ours in (
        ("scores", predict, lambda: classification(quick, batches(), fabric.autocast())),
        ("features", features, lambda: embedding.outputs(quick, batches(), fabric.autocast())),
    ):
        reference, mine = rates((theirs, ours), given.images)
        rows.append((name, f"{reference:.1f}", f"{mine:.1f}", f"{mine / reference:.2f}"))
    print(setting(case))
    show(["what", "reference images/s", "ours images/s", "ratio"], rows)


if __name__ == "__main__":
    main()
