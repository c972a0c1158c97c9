"""Logit distillation, method by method, against the formulas written with loops in float64."""

from math import cos, exp, log, pi

import numpy as np
import pytest
import torch
from test_values import (
    CLASSES,
    MIX,
    NOW,
    PARTNER,
    ROWS,
    SIZE,
    WEIGHT,
    array,
    cross_entropy,
    kl,
    log_softmax,
    mixed,
    mixed_label,
    mixed_logits,
    one_hot,
)

from cohobate.core import Batch, Mixture, Progress
from cohobate.losses import total
from cohobate.methods.ctkd import CTKD
from cohobate.methods.dist import DIST
from cohobate.methods.dkd import DKD
from cohobate.methods.dml import DML
from cohobate.methods.kd import KD
from cohobate.methods.mlkd import MLKD
from cohobate.methods.nkd import NKD
from cohobate.methods.unix import UNIX
from cohobate.methods.wsld import WSLD
from cohobate.models import Classifier
from cohobate.modules.mixing import Mixup

Array = np.ndarray
TEACHING = (KD, DKD, NKD, WSLD, DIST, MLKD, CTKD, UNIX)


@pytest.fixture
def teacher() -> Classifier:
    torch.manual_seed(1)
    network = Classifier("cifar_resnet8", CLASSES, mean=(0.1, 0.2, 0.3))
    with torch.no_grad():
        network.net.get_classifier().weight.mul_(20)  # sure of itself, so that T matters
    return network.eval()


@pytest.fixture(params=[None, MIX], ids=["plain", "mixed"])
def seen(request, model, teacher, batch) -> tuple[Batch, Array, Array, Array]:
    """A batch, and what both networks say of it, with its labels: plain and mixed."""
    with torch.no_grad():
        model.net.get_classifier().weight.mul_(5)
    if request.param is None:
        say = array(model(batch.images)), array(teacher(batch.images))
        return batch, *say, one_hot(batch.targets)
    mixture = batch._replace(mix=request.param)
    say = mixed_logits(model, batch), mixed_logits(teacher, batch)
    return mixture, *say, mixed_label(batch)


def at(epoch: int, epochs: int = 240) -> Progress:
    return Progress(torch.tensor(epoch), epochs, torch.tensor(epoch), epochs)


def softmax(row: Array, temperature: float = 1.0) -> Array:
    return np.array([exp(z) for z in log_softmax(row, temperature)])


def over_deviation(logits: Array) -> Array:
    return np.stack([(row - row.mean()) / row.std(ddof=1) for row in logits])


def by_label(batch: Batch, loss) -> float:
    """Mean over rows of loss(row, class), with both classes of a mixed row by their shares."""
    targets = batch.targets.tolist()
    values = []
    for b, (partner, weight) in enumerate(zip(PARTNER, WEIGHT)):
        weight = weight if batch.mix is not None else 1.0
        values.append(weight * loss(b, targets[b]) + (1 - weight) * loss(b, targets[partner]))
    return sum(values) / ROWS


def check(losses, **expected: float) -> None:
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=3e-4, abs=1e-6), name


def test_kd_standardised(model, teacher, seen):
    """Logit standardisation, equation 7 of Sun et al.: the z-score over the classes, in the KL."""
    batch, student, target, label = seen
    method = KD(model, teacher=teacher, temperature=2.0, alpha=9.0, standardise=True)
    check(
        method(batch, NOW),
        ce=0.1 * cross_entropy(student, label),
        kd=9.0 * kl(over_deviation(student), over_deviation(target), 2.0),
    )


@pytest.mark.parametrize("given, all_classes", [({}, False), ({"standardise": True}, True)])
def test_kd_recalls_all_classes_where_it_standardises(model, teacher, given, all_classes):
    assert KD(model, teacher=teacher, **given).recalls == ("all" if all_classes else "top")


@pytest.mark.parametrize("kind", TEACHING)
def test_teacher_is_frozen(kind, model, teacher):
    method = kind(model, teacher=teacher)
    assert not any(p.requires_grad for p in method.teacher.parameters())


def decoupled(student: Array, target: Array, T: float, alpha: float, beta: float):
    def loss(b: int, y: int) -> float:
        s, t = softmax(student[b], T), softmax(target[b], T)
        tckd = t[y] * log(t[y] / s[y]) + (1 - t[y]) * log((1 - t[y]) / (1 - s[y]))
        others = [c for c in range(CLASSES) if c != y]
        s_rest, t_rest = (p[others] / p[others].sum() for p in (s, t))
        return T**2 * (alpha * tckd + beta * sum(b * log(b / a) for a, b in zip(s_rest, t_rest)))

    return loss


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize(
    "epoch, epochs, rise",
    [(0, 240, 0.05), (9, 240, 0.5), (19, 240, 1.0), (200, 240, 1.0), (0, 10, 0.2), (4, 10, 1.0)],
)
def test_dkd(model, teacher, seen, epoch, epochs, rise, standardise):
    batch, student, target, label = seen
    method = DKD(model, teacher=teacher, gamma=0.7, alpha=1.5, beta=6.0, standardise=standardise)
    ce = cross_entropy(student, label)
    if standardise:
        student, target = over_deviation(student), over_deviation(target)
    expected = by_label(batch, decoupled(student, target, 4.0, 1.5, 6.0))
    check(method(batch, at(epoch, epochs)), ce=0.7 * ce, kd=rise * expected)


def test_dkd_has_the_authors_settings(model, teacher):
    method = DKD(model, teacher=teacher)
    assert (method.alpha, method.beta, method.temperature) == (1.0, 8.0, 4.0)
    assert (method.gamma, method.warmup) == (1.0, 20)


def test_dkd_without_warm_up_counts_in_full_at_once(model, teacher, batch):
    first, later = (
        DKD(model, teacher=teacher, warmup=0)(batch, at(epoch))["kd"] for epoch in (0, 50)
    )
    assert first.item() == later.item() > 0


def test_dkd_with_two_classes():
    torch.manual_seed(0)
    nets = [Classifier("cifar_resnet8", 2) for _ in range(2)]
    method = DKD(nets[0], teacher=nets[1], warmup=0)
    batch = Batch(torch.rand(3, 3, SIZE, SIZE), torch.tensor([0, 1, 1]), torch.arange(3))
    losses = method(batch, NOW)
    student, target = (array(net(batch.images)) for net in nets)
    assert losses["kd"].item() == pytest.approx(kl(student, target, 4.0), rel=1e-4, abs=1e-7)
    total(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in nets[0].parameters())


@pytest.mark.parametrize("T, gamma", [(3.0, 3.5), (1.0, 1.5)])
def test_nkd(model, teacher, seen, T, gamma):
    batch, student, target, label = seen

    def loss(b: int, y: int) -> float:
        s, t = softmax(student[b]), softmax(target[b])
        others = [c for c in range(CLASSES) if c != y]
        s_rest, t_rest = softmax(student[b][others], T), softmax(target[b][others], T)
        spread = sum(p * log(q) for p, q in zip(t_rest, s_rest))
        return -t[y] * log(s[y]) - gamma * T**2 * spread

    method = NKD(model, teacher=teacher, temperature=T, gamma=gamma)
    check(method(batch, NOW), ce=cross_entropy(student, label), kd=by_label(batch, loss))


@pytest.mark.parametrize("T, alpha", [(4.0, 2.25), (2.0, 2.5)])
def test_wsld(model, teacher, seen, T, alpha):
    batch, student, target, label = seen

    def loss(b: int, y: int) -> float:
        weight = 1 - exp(-log(softmax(student[b])[y]) / log(softmax(target[b])[y]))
        pairs = zip(softmax(target[b], T), softmax(student[b], T))
        return -weight * T**2 * sum(p * log(q) for p, q in pairs)

    method = WSLD(model, teacher=teacher, temperature=T, alpha=alpha)
    check(method(batch, NOW), ce=cross_entropy(student, label), kd=alpha * by_label(batch, loss))


def correlation(a: Array, b: Array) -> float:
    a, b = a - a.sum() / len(a), b - b.sum() / len(b)
    return float((a * b).sum() / ((a * a).sum() * (b * b).sum()) ** 0.5)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("T", [1.0, 4.0])
def test_dist(model, teacher, seen, T, standardise):
    batch, student, target, label = seen
    method = DIST(
        model, teacher=teacher, temperature=T, beta=3.0, gamma=0.5, standardise=standardise
    )
    ce = cross_entropy(student, label)
    if standardise:
        student, target = over_deviation(student), over_deviation(target)
    p_s, p_t = (np.stack([softmax(row, T) for row in z]) for z in (student, target))
    by_image = [1 - correlation(a, b) for a, b in zip(p_s, p_t)]
    by_class = [1 - correlation(a, b) for a, b in zip(p_s.T, p_t.T)]
    check(
        method(batch, NOW),
        ce=ce,
        inter_class=3.0 * T**2 * sum(by_image) / ROWS,
        intra_class=0.5 * T**2 * sum(by_class) / CLASSES,
    )


@pytest.mark.parametrize("standardise", [False, True])
def test_mlkd(model, teacher, seen, standardise):
    batch, student, target, label = seen
    method = MLKD(
        model,
        teacher=teacher,
        temperatures=(2.0, 5.0),
        gamma=0.3,
        instance=0.5,
        images=2.0,
        classes=3.0,
        standardise=standardise,
    )
    images = classes = 0.0
    for T in (2.0, 5.0):
        p_s, p_t = (np.stack([softmax(row, T) for row in z]) for z in (student, target))
        for b in range(ROWS):
            for c in range(ROWS):
                images += (p_s[b] @ p_s[c] - p_t[b] @ p_t[c]) ** 2 / ROWS
        for k in range(CLASSES):
            for m in range(CLASSES):
                classes += (p_s[:, k] @ p_s[:, m] - p_t[:, k] @ p_t[:, m]) ** 2 / CLASSES
    pair = (over_deviation(student), over_deviation(target)) if standardise else (student, target)
    check(
        method(batch, NOW),
        ce=0.3 * cross_entropy(student, label),
        instance=0.5 * (kl(*pair, 2.0) + kl(*pair, 5.0)),
        images=2.0 * images,
        classes=3.0 * classes,
    )


def test_mlkd_wants_a_temperature(model, teacher):
    with pytest.raises(ValueError, match=r"temperatures=\[\] leaves nothing"):
        MLKD(model, teacher=teacher, temperatures=())


@pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])
@pytest.mark.parametrize("peers, T", [(2, 1.0), (3, 2.0)])
def test_dml(model, batch, mix, peers, T):
    method = DML(model, peers=peers, temperature=T)
    nets = [method.model, *method.peers]
    assert len(nets) == peers
    if mix is None:
        logits = [array(net(batch.images)) for net in nets]
        label = one_hot(batch.targets)
    else:
        logits, label = [mixed_logits(net, batch) for net in nets], mixed_label(batch)
    mutual = sum(kl(a, b, T) for a in logits for b in logits if a is not b)
    check(
        method(batch._replace(mix=mix), NOW),
        ce=sum(cross_entropy(z, label) for z in logits),
        mutual=mutual / (peers - 1),
    )


def test_dml_peers_are_others_than_the_first(model):
    mine, theirs = model.state_dict(), DML(model).peers[0].state_dict()
    assert mine.keys() == theirs.keys()
    assert any(not torch.equal(mine[key], theirs[key]) for key in mine)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


@pytest.mark.parametrize("hardness", [1.0, -2.0])
def test_ctkd(model, teacher, seen, hardness):
    batch, student, target, label = seen
    method = CTKD(model, teacher=teacher, gamma=0.2, alpha=1.5)
    with torch.no_grad():
        assert method.hardness.item() == 1
        method.hardness.fill_(hardness)
    T = 1 + 20 * sigmoid(hardness)
    check(
        method(batch, at(3)),
        ce=0.2 * cross_entropy(student, label),
        kd=1.5 * kl(student, target, T),
    )


@pytest.mark.parametrize(
    "epoch, epochs, passed", [(0, 240, 0.1), (4, 240, 0.5), (9, 240, 1), (100, 240, 1), (3, 8, 1)]
)
def test_ctkd_climbs_the_divergence_in_its_temperature(model, teacher, seen, epoch, epochs, passed):
    """The gradient is the derivative of the KL times -lambda, and lambda a rising cosine."""
    batch, student, target, _ = seen
    method = CTKD(model, teacher=teacher)
    total(method(batch, at(epoch, epochs)).values()).backward()
    step = 1e-4
    up, down = (kl(student, target, 1 + 20 * sigmoid(1 + s)) for s in (step, -step))
    strength = (1 - cos(pi * passed)) / 2
    expected = -strength * 0.9 * (up - down) / (2 * step)
    assert method.hardness.grad.item() == pytest.approx(expected, rel=1e-2, abs=1e-5)


def entropies(logits: Array) -> list[float]:
    return [-sum(p * log(p) for p in softmax(row)) for row in logits]


@pytest.mark.parametrize("gamma", [0.0, 0.5])
@pytest.mark.parametrize("queried, turn, slope", [(0.75, 0.5, 10.0), (0.5, 0.25, 3.0), (1, 0.5, 0)])
def test_unix(model, teacher, batch, queried, turn, slope, gamma):
    mix = Mixture(torch.tensor(PARTNER), torch.full((ROWS,), 0.3))
    method = UNIX(
        model, teacher=teacher, queried=queried, turn=turn, slope=slope, gamma=gamma, alpha=2.0
    )
    doubt = entropies(array(model(batch.images)))
    order = sorted(range(ROWS), key=lambda b: -doubt[b])
    weight = [0.0] * ROWS
    for rank, b in enumerate(order):
        middle = turn - 1 / (2 * ROWS)
        weight[b] = 1 - 0.7 * sigmoid(slope * (rank / ROWS - middle))
    taken = order[: round(queried * ROWS)]
    images = torch.from_numpy(mixed(array(batch.images), PARTNER, weight)[taken]).float()
    student, target = array(model(images)), array(teacher(images))
    expected = {"kd": 2.0 * kl(student, target, 4.0)}
    if gamma:
        label = mixed(one_hot(batch.targets), PARTNER, weight)[taken]
        expected["ce"] = gamma * cross_entropy(student, label)
    check(method(batch._replace(mix=mix), NOW), **expected)


def test_unix_makes_of_a_box_a_veil_of_the_same_area(model, teacher, batch):
    mask = torch.ones(ROWS, 1, SIZE, SIZE)
    mask[:, :, :8] = 0
    mix = Mixture(torch.tensor(PARTNER), mask.mean((1, 2, 3)), mask)
    method = UNIX(model, teacher=teacher)
    adapted = method.adapted(batch._replace(mix=mix), torch.tensor([2, 0, 3, 1])).mix
    assert adapted is not None and adapted.mask is not None
    torch.testing.assert_close(adapted.mask.mean((1, 2, 3)), adapted.weight)
    assert adapted.weight.argsort(descending=True).tolist() == [2, 0, 3, 1]


def test_unix_asks_the_teacher_of_the_doubtful_alone(model, teacher, batch):
    method = UNIX(model, teacher=teacher)
    assert method.mix == Mixup(alpha=1.0)
    asked = []
    teacher.register_forward_hook(lambda module, given, output: asked.append(len(output)))
    method(method.mixed(batch), NOW)
    assert asked == [3]  # of four, at three quarters


def test_unix_without_a_mixture_takes_the_doubtful_as_they_are(model, teacher, batch):
    doubt = entropies(array(model(batch.images)))
    taken = sorted(range(ROWS), key=lambda b: -doubt[b])[:3]
    logits = [array(net(batch.images[taken])) for net in (model, teacher)]
    check(UNIX(model, teacher=teacher)(batch, NOW), kd=kl(*logits, 4.0))
