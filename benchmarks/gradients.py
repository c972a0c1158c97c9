"""What the extra terms of every method weigh: their gradient against the cross-entropy's.

    python benchmarks/gradients.py [--methods mixskd,kd] [--markdown]

On the parameters of the network that is deployed: the norm of a term's gradient over that of the plain cross-entropy of the same batch, at the
first step and after an epoch. A term below 1/1000 is called inert, one above 100 dominant; that band was fixed beforehand, and no weight was
chosen to lie in it. Digits at 32 pixels, cifar_resnet8, batches of 64, float32; teachers are of the same network, trained for ten epochs.
A training of ten epochs is begun, of which one is made. A dash: the method has no term beside its cross-entropy, or the term does not reach the network.
"""

import argparse
import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

import torch

from cohobate import build, config, defaults
from cohobate.core import Batch, Method, Progress
from cohobate.data.loader import TrainLoader
from cohobate.data.sampling import Sampler
from cohobate.data.splits import Split
from cohobate.display import show
from cohobate.losses import total
from cohobate.methods import METHODS
from cohobate.models import Classifier

CLASSIFYING = [name for name, kind in METHODS.items() if "classification" in kind.tasks]
BAND = 1e-3, 1e2
BATCH, SIZE, EPOCHS = 64, 32, 10
REASONS = {
    (
        "ab",
        "boundary",
    ): "a sum over all places of a map; the labels are learned after it, not beside it",
    ("ft_paraphraser", "reconstruction"): "it trains the paraphraser alone",
    ("ddgsd", "mmd"): "the published weight is 0.0005, of a distance of two means that lie close",
    (
        "dist",
        "intra_class",
    ): "new networks tell images hardly apart, and correlations have no scale",
    ("dlb", "last"): "no image has been seen before, so that only rounding is left",
    ("fitnet", "hint"): "the published weight is 100, of a regression that has learned nothing yet",
    (
        "residual_kd",
        "residual",
    ): "an error of two sums of maps, in a network that has learned nothing yet",
    (
        "semckd",
        "feature",
    ): "the published weight is 400, of regressions that have learned nothing yet",
}
"""Why a term of a method lies outside the band."""


def batches(method: Method, split: Split, epoch: int) -> Iterator[Batch]:
    """What the method asks for, mixed where it mixes."""
    sampler = Sampler(
        split.targets, BATCH, companions=method.companions, repeats=method.repeats, seed=0
    )
    loader = TrainLoader(split, sampler, augment=["crop"], size=SIZE, views=method.views)
    return (method.mixed(batch) for batch in loader.epoch(epoch))


def learn(method: Method, split: Split, epochs: int) -> Method:
    """The method, trained by a plain loop."""
    learning = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.02, momentum=0.9, weight_decay=5e-4)
    steps = -(-len(split) // BATCH)
    for epoch in range(epochs):
        for place, batch in enumerate(batches(method, split, epoch)):
            step = epoch * steps + place
            now = Progress(torch.tensor(epoch), EPOCHS, torch.tensor(step), EPOCHS * steps)
            optimizer.zero_grad()
            total(method(batch, now).values()).backward()
            torch.nn.utils.clip_grad_norm_(learning, 5.0)
            optimizer.step()
            method.after_step(now)
    return method


def ratios(method: Method, batch: Batch, epoch: int) -> dict[str, float | None]:
    """Of every term but "ce": the norm of its gradient over that of the plain cross-entropy."""
    weights = [p for p in method.model.parameters() if p.requires_grad]
    view = batch.images[:, 0] if batch.images.ndim == 5 else batch.images
    plain = method.model.losses(batch._replace(images=view))["ce"]
    unit = _norm(torch.autograd.grad(plain, weights))
    now = Progress(torch.tensor(epoch), EPOCHS, torch.tensor(20 * epoch), 20 * EPOCHS)
    losses = method(batch, now)
    found: dict[str, float | None] = {}
    for name, loss in losses.items():
        if name != "ce":
            grads = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            reached = [g for g in grads if g is not None]
            found[name] = _norm(reached) / unit if reached else None
    return found


def _norm(grads: Any) -> float:
    return float(torch.stack([g.norm() for g in grads]).norm())


def made(name: str, split: Split, taught: Classifier) -> Method:
    """A method around a new network, with its teacher trained."""
    torch.manual_seed(0)
    kind, model = METHODS[name], Classifier("cifar_resnet8", 10, size=SIZE)
    asked = inspect.signature(kind).parameters
    given: dict[str, Any] = {"samples": len(split)} if "samples" in asked else {}
    if "teacher" in asked:
        wanted = get_type_hints(kind.__init__)["teacher"]
        teacher = taught.fresh()
        teacher.load_state_dict(taught.state_dict())
        given["teacher"] = (
            learn(wanted(teacher), split, 2) if issubclass(wanted, Method) else teacher
        )
    return kind(model, **given)


def rows(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Method, term, both ratios, and what is to be said of them."""
    settings = config.load("runs/smoke/classification.toml")
    split = build.load_data(defaults.resolve(settings)[0]).train
    torch.manual_seed(1)
    teacher = learn(METHODS["supervised"](Classifier("cifar_resnet8", 10, size=SIZE)), split, 10)
    for name in names:
        method = made(name, split, teacher.model)
        first = ratios(method, next(batches(method, split, 0)), 0)
        later = ratios(learn(method, split, 1), next(batches(method, split, 1)), 1)
        if not first:
            yield name, "–", "–", "–", ""
        for term, value in first.items():
            words = {word for ratio in (value, later[term]) if (word := verdict(ratio))}
            said = ", ".join(sorted(words))
            if said and (reason := REASONS.get((name, term))):
                said = f"{said}: {reason}"
            yield name, term, shown(value), shown(later[term]), said


def verdict(ratio: float | None) -> str:
    if ratio is None:
        return "does not reach the network"
    if BAND[0] <= ratio <= BAND[1]:
        return ""
    return "inert" if ratio < BAND[0] else "dominant"


def shown(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=",".join(CLASSIFYING))
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    found = list(rows(given.methods.split(",")))
    heads = ["method", "term", "first step", "after an epoch", "outside 1/1000 … 100"]
    if not given.markdown:
        show(heads, found)
        return
    for row in (heads, ["---", "---", "---:", "---:", "---"], *found):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
