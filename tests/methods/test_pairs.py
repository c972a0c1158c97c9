"""Methods in which a network teaches itself across images, views and steps, against their formulas.

Each formula is written once more with loops in float64, as in `test_values`.
"""

import json
from math import exp, log

import numpy as np
import pytest
import torch
from test_values import (
    CLASSES,
    MIX,
    NOW,
    PARTNER,
    ROWS,
    WEIGHT,
    Array,
    array,
    cross_entropy,
    kl,
    log_softmax,
    mixed,
    mixed_label,
    one_hot,
)
from torch import Tensor, nn

from cohobate.core import Batch, Mixture, Progress
from cohobate.losses import total
from cohobate.methods.augmix_jsd import AugMixJSD
from cohobate.methods.bake import BAKE
from cohobate.methods.cskd import CSKD
from cohobate.methods.ddgsd import DDGSD
from cohobate.methods.dlb import DLB
from cohobate.methods.mean_teacher import MeanTeacher
from cohobate.methods.uskd import USKD
from cohobate.models import Classifier

MIXED = pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])


@pytest.fixture
def model(model) -> Classifier:
    """A network that is sure of what it says, so that every divergence counts."""
    with torch.no_grad():
        model.net.get_classifier().weight.mul_(20)
    return model


def probabilities(logits: Array, temperature: float = 1.0) -> Array:
    return np.exp([log_softmax(row, temperature) for row in logits])


def values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


def near(expected: dict[str, float]):
    assert all(abs(value) > 1e-6 for value in expected.values()), expected
    return pytest.approx(expected, rel=2e-4, abs=1e-7)


def label_of(batch: Batch) -> Array:
    return one_hot(batch.targets) if batch.mix is None else mixed_label(batch)


def inputs_of(batch: Batch) -> Tensor:
    """The images, mixed where the batch is, by hand."""
    if batch.mix is None:
        return batch.images
    return torch.from_numpy(mixed(array(batch.images), PARTNER, WEIGHT)).float()


def with_views(batch: Batch, views: int) -> Batch:
    """Views that are the image moved to the side."""
    return batch._replace(
        images=torch.stack([batch.images.roll(5 * v, -1) for v in range(views)], 1)
    )


def with_companions(batch: Batch, count: int) -> Batch:
    """Each image's companions are it, moved down; a mixture is the same in every block."""
    mix = batch.mix
    if mix is not None:
        blocks = [mix.partner + ROWS * block for block in range(count + 1)]
        mix = Mixture(torch.cat(blocks), mix.weight.repeat(count + 1))
    return Batch(
        torch.cat([batch.images.roll(7 * block, -2) for block in range(count + 1)]),
        batch.targets.repeat(count + 1),
        torch.arange(ROWS * (count + 1)),
        mix,
    )


@MIXED
@pytest.mark.parametrize("temperature, alpha", [(4.0, 1.0), (1.0, 3.0)])
def test_cskd(model, batch, mix, temperature, alpha):
    anchors = batch._replace(mix=mix)
    partners = anchors._replace(images=batch.images.roll(7, -2))
    logits, target = array(model(inputs_of(anchors))), array(model(inputs_of(partners)))
    method = CSKD(model, temperature=temperature, alpha=alpha)
    expected = {
        "ce": cross_entropy(logits, label_of(anchors)),
        "class_wise": alpha * kl(logits, target, temperature),
    }
    assert values(method(with_companions(anchors, 1), NOW)) == near(expected)


def test_cskd_shows_partners_to_the_batch_norms_but_learns_nothing_from_them(model, batch):
    method = CSKD(model)
    counts = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    pair = with_companions(batch, 1)
    pair.images.requires_grad_()
    total(method(pair, NOW).values()).backward()
    assert {int(count.num_batches_tracked) for count in counts} == {2}
    assert pair.images.grad[:ROWS].any()
    assert not pair.images.grad[ROWS:].any()


@MIXED
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_ddgsd(model, batch, mix, variant):
    method = DDGSD(model, variant=variant, gamma=0.7, alpha=2.0, beta=30.0, temperature=3.0)
    batch = batch._replace(mix=mix)
    views = [batch._replace(images=batch.images.roll(5 * view, -1)) for view in range(2)]
    trace = model.trace(torch.cat([inputs_of(view) for view in views]))
    z, f = array(trace.logits), array(trace.embedding)
    first, second, label = z[:ROWS], z[ROWS:], label_of(batch)
    means = [
        [sum(row[k] for row in part) / ROWS for k in range(f.shape[1])]
        for part in (f[:ROWS], f[ROWS:])
    ]
    if variant == "paper":
        distance = sum((a - b) ** 2 for a, b in zip(*means))
    else:
        distance = (sum(means[0]) - sum(means[1])) ** 2 / f.shape[1] ** 2
    losses = values(method(with_views(batch, 2), NOW))
    assert losses.pop("mmd") == pytest.approx(30.0 * distance, rel=1e-3, abs=1e-9)
    assert losses == near(
        {
            "ce": 0.7 * (cross_entropy(first, label) + cross_entropy(second, label)) / 2,
            "mutual": 2.0 * (kl(first, second, 3.0) + kl(second, first, 3.0)),
        }
    )


def test_ddgsds_released_term_does_next_to_nothing(model, batch):
    paper, released = (
        DDGSD(model, variant=variant)(with_views(batch, 2), NOW)["mmd"].item()
        for variant in ("paper", "released")
    )
    assert released < paper / 50


@MIXED
@pytest.mark.parametrize("companions", [1, 3])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_bake(model, batch, mix, companions, variant):
    method = BAKE(
        model, companions=companions, variant=variant, temperature=3.0, alpha=2.0, omega=0.7
    )
    assert method.companions == companions
    batch = with_companions(batch._replace(mix=mix), companions)
    label = one_hot(batch.targets)
    images = batch.images
    if mix is not None:
        partner = [p + ROWS * block for block in range(companions + 1) for p in PARTNER]
        weight = WEIGHT * (companions + 1)
        images = torch.from_numpy(mixed(array(images), partner, weight)).float()
        label = mixed(label, partner, weight)
    trace = model.trace(images)
    z, f = array(trace.logits), array(trace.embedding)
    count = len(z)
    affinity = np.zeros((count, count))
    for a in range(count):
        for b in range(count):
            if a != b:
                affinity[a, b] = exp(f[a] @ f[b] / np.sqrt((f[a] @ f[a]) * (f[b] @ f[b])))
        affinity[a] /= affinity[a].sum()
    own = target = probabilities(z, 3.0)
    for _ in range(200):
        target = 0.7 * affinity @ target + 0.3 * own
    if variant == "released":
        target = probabilities(target, 3.0)
    rows = [
        sum(q * (log(q) - s) for q, s in zip(wanted, log_softmax(row, 3.0)))
        for wanted, row in zip(target, z)
    ]
    assert values(method(batch, NOW)) == near(
        {"ce": cross_entropy(z, label), "ensemble": 2.0 * 9 * sum(rows) / count}
    )


def at(step: int) -> Progress:
    return Progress(torch.tensor(step // 3), 4, torch.tensor(step), 12)


def step_of(batch: Batch, ids: list[int], seed: int) -> Batch:
    """The images that those ids stand for, in views that are of that step."""
    images = torch.stack([batch.images[i % ROWS].roll(i, -1) for i in ids])
    views = torch.stack([images.roll(3 * seed + view, -2) for view in range(2)], 1)
    return batch._replace(
        images=views, targets=batch.targets[torch.tensor(ids) % ROWS], ids=torch.tensor(ids)
    )


@MIXED
@pytest.mark.parametrize("temperature, alpha", [(3.0, 1.0), (1.0, 2.0)])
def test_dlb(model, batch, mix, temperature, alpha):
    """The first half in the second view, against what was said of it in the first one a step ago.

    Labels are of mixtures, where there are any; what is said of an image is of the image alone.
    """
    method = DLB(model, samples=12, temperature=temperature, alpha=alpha)
    batch = batch._replace(mix=mix)
    before: dict[int, Array] = {}
    for step, ids in enumerate([[9, 8, 0, 1], [0, 1, 2, 3], [2, 3, 0, 5], [0, 5, 7, 4]]):
        given = step_of(batch, ids, step)
        images = torch.stack([given.images[row, 1 if row < 2 else 0] for row in range(ROWS)])
        logits = plain = array(model(images))
        if mix is not None:
            mixture = torch.from_numpy(mixed(array(images), PARTNER, WEIGHT)).float()
            both = array(model(torch.cat([mixture, images])))  # which batch norms see together
            logits, plain = both[:ROWS], both[ROWS:]
        losses = method(given, at(step))
        assert losses["ce"].item() == pytest.approx(
            cross_entropy(logits, label_of(given)), rel=1e-4
        )
        expected = 0.0
        if step:
            expected = alpha * kl(plain[:2], np.stack([before[i] for i in ids[:2]]), temperature)
            assert expected > 1e-3
        assert losses["last"].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)
        before = dict(zip(ids[2:], plain[2:]))


def test_dlb_forgets_what_is_older_than_a_step(model, batch):
    """Of the first half, one image was new in the step before and one earlier: half the rows count."""
    method = DLB(model, samples=12)
    method(step_of(batch, [8, 9, 0, 1], 0), at(0))
    method(step_of(batch, [0, 1, 2, 3], 1), at(1))
    ids = [2, 0, 4, 5]
    past = array(method.memory.rows[2:3])
    given = step_of(batch, ids, 2)
    logits = array(model(torch.cat([given.images[:2, 1], given.images[2:, 0]])))
    losses = method(given, at(2))
    assert losses["last"].item() == pytest.approx(kl(logits[:1], past, 3.0) / 2, rel=1e-4)


def test_dlb_goes_on_within_a_step_that_is_taken_in_parts(model, batch):
    method = DLB(model, samples=12)
    method(step_of(batch, [8, 9, 0, 1], 0), at(5))
    assert method(step_of(batch, [0, 1, 2, 3], 1), at(5))["last"].item() > 1e-3
    assert method(step_of(batch, [2, 3, 4, 5], 2), at(6))["last"].item() > 1e-3


def test_dlb_learns_nothing_for_the_target(model, batch):
    method = DLB(model, samples=12)
    first = method(step_of(batch, [8, 9, 0, 1], 0), at(0))
    first["last"].backward()
    assert max(p.grad.abs().max() for p in model.parameters() if p.grad is not None) < 1e-5
    assert not method.memory.rows.requires_grad


def test_dlb_is_served_the_images_of_the_step_before(smoke, tmp_path):
    ran = smoke(tmp_path / "run", "data.per_class=8", "data.batch_size=16", "method.name=dlb")
    assert ran.code == 0, ran.err
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["step"] == 10  # of 80 images
    assert row["train/last"] > 1e-3


@MIXED
@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_mean_teacher(model, batch, mix, distance):
    method = MeanTeacher(model, distance=distance, alpha=3.0, ramp_end=0.5)
    with torch.no_grad():
        method.teacher.net.net.get_classifier().bias.add_(torch.arange(CLASSES))
    batch = batch._replace(mix=mix)
    second = batch._replace(images=batch.images.roll(5, -1))
    logits, target = array(model(inputs_of(batch))), array(method.teacher(inputs_of(second)))
    p, q = probabilities(logits), probabilities(target)
    gap = kl(logits, target, 1.0) if distance == "kl" else ((p - q) ** 2).sum() / p.size
    for epoch, rise in [(0, exp(-5 * 0.75**2)), (1, exp(-5 * 0.5**2)), (3, 1.0), (7, 1.0)]:
        now = Progress(torch.tensor(epoch), 8, torch.tensor(epoch), 8)
        assert values(method(with_views(batch, 2), now)) == near(
            {"ce": cross_entropy(logits, label_of(batch)), "consistency": 3.0 * rise * gap}
        )


def test_the_mean_teacher_follows(model, batch):
    method = MeanTeacher(model, decay=0.75)
    before = {name: value.clone() for name, value in method.teacher.net.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    name = "net.stem.conv.weight"
    method.after_step(NOW._replace(step=torch.tensor(1)))  # the second step: the mean of both
    torch.testing.assert_close(method.teacher.net.state_dict()[name], before[name] + 0.5)
    method.after_step(NOW._replace(step=torch.tensor(100)))
    torch.testing.assert_close(method.teacher.net.state_dict()[name], before[name] + 0.625)
    total(method(with_views(batch, 2), NOW).values()).backward()
    assert all(p.grad is None for p in method.teacher.parameters())


@MIXED
def test_augmix_jsd(model, batch, mix):
    batch = batch._replace(mix=mix)
    views = [batch._replace(images=batch.images.roll(5 * view, -1)) for view in range(3)]
    z = array(model(torch.cat([inputs_of(view) for view in views])))
    parts = [z[:ROWS], z[ROWS : 2 * ROWS], z[2 * ROWS :]]
    rows = []
    for b in range(ROWS):
        p = [probabilities(part[b : b + 1])[0] for part in parts]
        mean = [sum(q[c] for q in p) / 3 for c in range(CLASSES)]
        rows.append(sum(q[c] * log(q[c] / mean[c]) for q in p for c in range(CLASSES)) / 3)
    assert values(AugMixJSD(model, alpha=5.0)(with_views(batch, 3), NOW)) == near(
        {"ce": cross_entropy(parts[0], label_of(batch)), "consistency": 5.0 * sum(rows) / ROWS}
    )


def uskd_rows(z: Array, weak: Array, targets: list[int], variant: str) -> tuple[list, list]:
    """The target's and the other classes' term of every row."""
    p, w = probabilities(z), probabilities(weak)
    square = [p[b, t] ** 2 for b, t in enumerate(targets)]
    first = [
        -(square[b] + 1 - sum(square) / len(square)) * log(p[b, t]) for b, t in enumerate(targets)
    ]
    second = []
    for b, t in enumerate(targets):
        rest = [c for c in range(CLASSES) if c != t]
        if variant == "paper":
            score = {c: p[b, c] / (1 - p[b, t]) + w[b, c] / (1 - w[b, t]) for c in rest}
        else:
            score = {
                c: w[b, c] / (1 - w[b, t] + 1e-6) + log(p[b, c]) / (1 - log(p[b, t]) + 1e-6)
                for c in range(CLASSES)
            }
        order = sorted(score, key=lambda c: -score[c])
        label = {c: 1 / (1 + order.index(c)) for c in rest}
        norm = sum(label.values())
        second.append(
            -sum(label[c] / norm * log(p[b, c] / sum(p[b, d] for d in rest)) for c in rest)
        )
    return first, second


@MIXED
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_uskd(model, batch, mix, variant):
    method = USKD(model, alpha=0.3, beta=0.4, mu=0.5, variant=variant)
    with torch.no_grad():
        model.net.get_classifier().weight.mul_(0.1)  # no probability may vanish
        method.weak.weight.mul_(10)
    batch = batch._replace(mix=mix)
    trace = model.trace(inputs_of(batch))
    maps, z = array(trace.stages[-2]), array(trace.logits)
    pooled = maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3])
    weak = pooled @ array(method.weak.weight).T + array(method.weak.bias)
    label, targets = label_of(batch), batch.targets.tolist()
    first, second = uskd_rows(z, weak, targets, variant)
    if mix is not None:
        others = uskd_rows(z, weak, [targets[p] for p in PARTNER], variant)
        first, second = (
            [w * a + (1 - w) * b for a, b, w in zip(mine, theirs, WEIGHT)]
            for mine, theirs in zip((first, second), others)
        )
    assert values(method(batch, NOW)) == near(
        {
            "ce": cross_entropy(z, label),
            "target": 0.3 * sum(first) / ROWS,
            "non_target": 0.4 * sum(second) / ROWS,
            "weak": 0.5 * cross_entropy(weak, 0.9 * label + 0.1 / CLASSES),
        }
    )


def test_defaults_are_the_papers(model):
    assert (CSKD(model).temperature, CSKD(model).alpha, CSKD.companions) == (4.0, 1.0, 1)
    bake = BAKE(model)
    assert (bake.companions, bake.temperature, bake.alpha, bake.omega) == (3, 4.0, 1.0, 0.5)
    dlb = DLB(model, samples=4)
    assert (dlb.temperature, dlb.alpha, dlb.views, dlb.repeats) == (3.0, 1.0, 2, True)
    uskd = USKD(model)
    assert (uskd.alpha, uskd.beta, uskd.mu) == (0.1, 0.1, 0.1)
    ddgsd = DDGSD(model)
    assert (ddgsd.temperature, ddgsd.gamma, ddgsd.alpha, ddgsd.beta) == (4.0, 0.5, 1.0, 5e-4)
    assert (AugMixJSD(model).alpha, AugMixJSD.views) == (12.0, 3)
    teacher = MeanTeacher(model)
    assert (teacher.teacher.decay, teacher.alpha, teacher.views) == (0.999, 100.0, 2)
