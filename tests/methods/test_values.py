"""What every method computes, against its formula written with loops in float64."""

from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cohobate.core import Batch, Mixture, Progress
from cohobate.losses import total
from cohobate.methods.cutmix import CutMix
from cohobate.methods.kd import KD
from cohobate.methods.label_smoothing import LabelSmoothing
from cohobate.methods.mixskd import MixSKD
from cohobate.methods.mixup import Mixup
from cohobate.methods.supervised import Supervised
from cohobate.models import Classifier, Trace
from cohobate.modules.mixing import MIXINGS

CLASSES, SIZE, ROWS = 5, 32, 4
NOW = Progress(torch.tensor(0), 1, torch.tensor(0), 1)
CLOSE: dict[str, float] = {"rtol": 2e-5, "atol": 1e-6}

Array = np.ndarray


def array(value: torch.Tensor) -> Array:
    return value.detach().double().numpy()


def log_softmax(row: Array, temperature: float = 1.0) -> list[float]:
    scaled = [float(z) / temperature for z in row]
    top = max(scaled)
    norm = top + log(sum(exp(z - top) for z in scaled))
    return [z - norm for z in scaled]


def cross_entropy(logits: Array, label: Array) -> float:
    """Mean over rows of -sum_c y_c log p_c."""
    rows = [-sum(y * p for y, p in zip(ys, log_softmax(row))) for ys, row in zip(label, logits)]
    return sum(rows) / len(rows)


def kl(learner: Array, target: Array, temperature: float) -> float:
    """KL_T(learner <- target) = T² mean_b sum_c p_t log(p_t / p_s)."""
    rows = [
        sum(
            exp(t) * (t - s)
            for s, t in zip(log_softmax(a, temperature), log_softmax(b, temperature))
        )
        for a, b in zip(learner, target)
    ]
    return temperature**2 * sum(rows) / len(rows)


def one_hot(targets: torch.Tensor) -> Array:
    label = np.zeros((len(targets), CLASSES))
    for row, target in enumerate(targets.tolist()):
        label[row, target] = 1
    return label


def mixed(value: Array, partner: list[int], weight: list[float]) -> Array:
    """weight_b v_b + (1 - weight_b) v_partner(b), row by row."""
    return np.stack(
        [w * value[b] + (1 - w) * value[p] for b, (p, w) in enumerate(zip(partner, weight))]
    )


# Different weights in every row, a partner that is its own inverse nowhere, and a row left alone.
PARTNER, WEIGHT = [2, 0, 3, 1], [0.9, 0.25, 1.0, 0.6]
MIX = Mixture(torch.tensor(PARTNER), torch.tensor(WEIGHT))


def mixed_label(batch: Batch) -> Array:
    return mixed(one_hot(batch.targets), PARTNER, WEIGHT)


def mixed_logits(model: nn.Module, batch: Batch) -> Array:
    images = torch.from_numpy(mixed(array(batch.images), PARTNER, WEIGHT)).float()
    return array(model(images))


def test_supervised(model, batch):
    losses = Supervised(model)(batch, NOW)
    expected = cross_entropy(array(model(batch.images)), one_hot(batch.targets))
    assert {k: v.item() for k, v in losses.items()} == {"ce": pytest.approx(expected, rel=1e-5)}


def test_supervised_on_a_mixture(model, batch):
    losses = Supervised(model)(batch._replace(mix=MIX), NOW)
    expected = cross_entropy(mixed_logits(model, batch), mixed_label(batch))
    assert losses["ce"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing(model, batch, smoothing):
    """1 - eps + eps / C on the class, eps / C on the others (Szegedy et al., section 7)."""
    method = LabelSmoothing(model, smoothing=smoothing)
    for mix, logits, label in [
        (None, array(model(batch.images)), one_hot(batch.targets)),
        (MIX, mixed_logits(model, batch), mixed_label(batch)),
    ]:
        expected = cross_entropy(logits, (1 - smoothing) * label + smoothing / CLASSES)
        actual = method(batch._replace(mix=mix), NOW)["ce"].item()
        assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", [Mixup, CutMix])
def test_a_method_that_mixes_has_the_defaults_of_the_mixing(model, method):
    assert method(model).mix == MIXINGS[method.__name__.lower()]()


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_mixup(model, batch, per):
    method = Mixup(model, alpha=0.4, per=per)
    batch = method.mixed(batch, torch.Generator().manual_seed(2))
    partner, weight = batch.mix.partner.tolist(), batch.mix.weight.tolist()
    assert len(set(weight)) == (1 if per == "batch" else ROWS)
    images = mixed(array(batch.images), partner, weight)
    logits = array(model(torch.from_numpy(images).float()))
    rows = [
        -w * log_softmax(row)[batch.targets[b]] - (1 - w) * log_softmax(row)[batch.targets[p]]
        for b, (row, p, w) in enumerate(zip(logits, partner, weight))
    ]
    assert method(batch, NOW)["ce"].item() == pytest.approx(sum(rows) / ROWS, rel=1e-5)


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_cutmix(model, batch, per):
    method = CutMix(model, per=per)
    batch = method.mixed(batch, torch.Generator().manual_seed(5))
    mask = batch.mix.mask[:, 0] == 1
    images, partner = array(batch.images), batch.mix.partner.tolist()
    cut, area = images.copy(), np.zeros(ROWS)
    for b in range(ROWS):
        for y in range(SIZE):
            for x in range(SIZE):
                if not mask[b, y, x]:
                    cut[b, :, y, x] = images[partner[b], :, y, x]
                    area[b] += 1 / SIZE**2
    assert 0 < area.max() < 1
    logits = array(model(torch.from_numpy(cut).float()))
    rows = [
        -(1 - area[b]) * log_softmax(row)[batch.targets[b]]
        - area[b] * log_softmax(row)[batch.targets[partner[b]]]
        for b, row in enumerate(logits)
    ]
    assert method(batch, NOW)["ce"].item() == pytest.approx(sum(rows) / ROWS, rel=1e-5)


@pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])
@pytest.mark.parametrize(
    "temperature, gamma, alpha", [(4.0, 0.1, 0.9), (1.0, 1.0, 2.0), (20.0, 0.0, 0.5)]
)
def test_kd(model, batch, mix, temperature, gamma, alpha):
    teacher = Classifier("cifar_resnet8", CLASSES, mean=(0.1, 0.2, 0.3))
    with torch.no_grad():
        teacher.net.get_classifier().weight.mul_(20)  # sure of itself, so that T matters
    method = KD(model, teacher=teacher, temperature=temperature, gamma=gamma, alpha=alpha)
    losses = method(batch._replace(mix=mix), NOW)
    if mix is None:
        logits, label, target = (
            array(model(batch.images)),
            one_hot(batch.targets),
            teacher(batch.images),
        )
        target = array(target)
    else:
        logits, label = mixed_logits(model, batch), mixed_label(batch)
        target = mixed_logits(teacher, batch)
    assert losses.keys() == {"ce", "kd"}
    expected = alpha * kl(logits, target, temperature)
    assert losses["ce"].item() == pytest.approx(gamma * cross_entropy(logits, label), rel=1e-5)
    assert losses["kd"].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_kd_has_the_weights_of_repdistiller(model):
    method = KD(model, teacher=Classifier("cifar_resnet8", CLASSES))
    assert (method.temperature, method.gamma, method.alpha) == (4.0, 0.1, 0.9)


NETWORKS: dict[str, Any] = {
    "copies": lambda: Classifier("cifar_resnet8", CLASSES),
    "branches": lambda: Classifier("test_vit", CLASSES, size=SIZE),
}
TERMS = ["ce", "mixed_ce", "feature", "discriminator", "mutual", "self_teacher"]


@pytest.fixture(params=NETWORKS)
def network(request) -> Classifier:
    torch.manual_seed(0)
    return NETWORKS[request.param]()


def self_teacher(method: MixSKD, maps: list[Array]) -> Array:
    """1 × 1 convolution of the concatenated maps, mean over pixels, linear; by hand."""
    weight = array(method.self_teacher.fuse[0].weight)[:, :, 0, 0]
    head = method.self_teacher.classifier
    rows, _, height, width = maps[0].shape
    logits = []
    for b in range(rows):
        pooled = np.zeros(len(weight))
        for y in range(height):
            for x in range(width):
                pixel = np.concatenate([maps_k[b, :, y, x] for maps_k in maps])
                pooled += weight @ pixel / (height * width)
        logits.append(array(head.weight) @ pooled + array(head.bias))
    return np.stack(logits)


def discriminator(part: nn.Sequential, first: Array, second: Array) -> float:
    """Binary cross-entropy of both layers by hand: (1, 0) for maps `first`, (0, 1) for `second`."""
    values = []
    for maps, label in ((first, (1, 0)), (second, (0, 1))):
        for row in maps:
            pooled = np.array([channel.sum() / channel.size for channel in row])
            hidden = array(part[0].weight) @ pooled + array(part[0].bias)
            hidden = np.array([max(0.0, h) for h in hidden])
            logits = array(part[2].weight) @ hidden + array(part[2].bias)
            for z, y in zip(logits, label):
                p = 1 / (1 + exp(-z))
                values.append(-y * log(p) - (1 - y) * log(1 - p))
    return sum(values) / len(values)


def reference(
    method: MixSKD, batch: Batch, partner: list[int], weight: list[float]
) -> dict[str, float]:
    """The six terms of MixSKD, each written as in the paper, of the network's maps and logits."""
    images = mixed(array(batch.images), partner, weight)
    both = torch.cat([batch.images, torch.from_numpy(images).float()])
    trace = method.model.trace(both)
    exits, maps = method.exits(trace.stages)
    z = [array(v) for v in (*exits, trace.logits)]
    f = [array(v) for v in (*maps, trace.stages[-1])]
    n, heads, T = len(batch.images), range(len(z)), method.temperature
    z_clean, z_mixup = [v[:n] for v in z], [v[n:] for v in z]
    f_clean, f_mixup = [v[:n] for v in f], [v[n:] for v in f]
    z_inter = [mixed(v, partner, weight) for v in z_clean]
    f_inter = [mixed(v, partner, weight) for v in f_clean]
    h_inter, h_mixup = self_teacher(method, f_inter), self_teacher(method, f_mixup)
    hard = one_hot(batch.targets)
    soft = mixed(hard, partner, weight)
    *auxiliary, last = heads
    return {
        "ce": sum(cross_entropy(z_clean[k], hard) for k in heads),
        "mixed_ce": sum(cross_entropy(z_mixup[k], soft) for k in heads)
        + cross_entropy(h_inter, soft)
        + cross_entropy(h_mixup, soft),
        "feature": sum(((f_inter[k] - f_mixup[k]) ** 2).sum() / f_inter[k].size for k in heads),
        "discriminator": sum(
            discriminator(method.discriminators[k], f_inter[k], f_mixup[k]) for k in heads
        ),
        "mutual": sum(
            kl(z_inter[k], z_mixup[k], T) + kl(z_mixup[k], z_inter[k], T) for k in auxiliary
        ),
        "self_teacher": kl(z_inter[last], h_mixup, T) + kl(z_mixup[last], h_inter, T),
    }


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("weight", [[0.3] * ROWS, WEIGHT], ids=["batch", "sample"])
def test_mixskd(network, batch, variant, weight):
    method = MixSKD(network, variant=variant)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "classifier" in name or "fc" in name or "head" in name:
                parameter.mul_(10)  # predictions that differ, so that every KL counts
    mix = Mixture(torch.tensor(PARTNER), torch.tensor(weight))
    losses = method(batch._replace(mix=mix), NOW)
    expected = reference(method, batch, PARTNER, weight)
    assert list(losses) == TERMS
    for name, loss in losses.items():
        assert expected[name] > 1e-3
        assert loss.item() == pytest.approx(expected[name], rel=1e-4), name
    carries = {name for name, loss in losses.items() if loss.requires_grad}
    assert carries == {*TERMS} - ({"mixed_ce"} if variant == "released" else set())


def test_mixskd_weights(model, batch):
    """beta scales the feature term, gamma the discriminators, mu both kinds of KL."""
    plain = MixSKD(model)
    weighted = MixSKD(model, feature=2.0, discriminator=3.0, mutual=5.0)
    weighted.load_state_dict(plain.state_dict())
    batch = batch._replace(mix=MIX)
    before, after = plain(batch, NOW), weighted(batch, NOW)
    ratios = {name: (after[name] / before[name]).item() for name in TERMS}
    expected = dict(zip(TERMS, [1, 1, 2, 3, 5, 5]))
    assert ratios == pytest.approx(expected, rel=1e-5)


def test_mixskd_has_the_settings_of_cifar(model):
    method = MixSKD(model)
    assert (method.mix.alpha, method.mix.per, method.mix.share) == (0.4, "batch", 1.0)
    assert method.temperature == 3.0
    assert (method.feature, method.discriminator, method.mutual) == (1.0, 1.0, 1.0)
    assert method.variant == "paper"


def test_mixskd_wants_a_mixture(model, batch):
    with pytest.raises(ValueError, match=r"mixskd.*method\.mixed\(batch\)"):
        MixSKD(model)(batch, NOW)


def helpers(method: MixSKD) -> dict[str, nn.Parameter]:
    """The parameters of the self-teacher and of the discriminators."""
    names = ("self_teacher.", "discriminators.")
    return {n: p for n, p in method.named_parameters() if n.startswith(names)}


def test_mixskd_helpers_learn_in_the_paper(network, batch):
    method = MixSKD(network)
    heads = len(network.stages)
    assert len(helpers(method)) == 3 + 4 * heads
    before = {name: p.detach().clone() for name, p in helpers(method).items()}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    total(method(batch._replace(mix=MIX), NOW).values()).backward()
    assert [name for name, p in helpers(method).items() if not p.grad.any()] == []
    optimizer.step()
    assert [name for name, p in helpers(method).items() if torch.equal(p, before[name])] == []


def test_mixskd_helpers_stay_still_in_the_released_script(network, batch):
    method = MixSKD(network, variant="released")
    assert not any(p.requires_grad for p in helpers(method).values())
    assert helpers(method).keys() <= method.state_dict().keys()
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        total(method(batch._replace(mix=MIX), NOW).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == before.keys() - helpers(method).keys()


def test_mixskd_norm_follows_the_convolution_of_the_self_teacher(model):
    plain, normed = (MixSKD(model, self_teacher_norm=norm).self_teacher for norm in (False, True))
    maps = [torch.randn(ROWS, 64, 8, 8) for _ in model.stages]
    normed.load_state_dict(plain.state_dict(), strict=False)
    fused = plain.fuse(torch.cat(maps, 1))
    centred = fused - fused.mean((0, 2, 3), keepdim=True)
    rectified = (centred / (fused.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()).relu()
    expected = plain.classifier(rectified.mean((2, 3)))
    torch.testing.assert_close(normed(maps), expected, rtol=1e-4, atol=1e-5)


class Given(nn.Module):
    """Stands for a module whose output is known."""

    def __init__(self, value: Any):
        super().__init__()
        self.value = value

    def forward(self, *_: Any) -> Any:
        return self.value


@pytest.fixture
def leaves(model, batch, monkeypatch):
    """MixSKD on logits and maps that are leaves, so that every term's gradient can be read off."""
    draw = torch.Generator().manual_seed(4)

    def leaf(*shape: int) -> torch.Tensor:
        return (2 * torch.randn(*shape, generator=draw)).requires_grad_()

    method = MixSKD(model)
    z = [leaf(2 * ROWS, CLASSES) for _ in model.stages]
    f = [leaf(2 * ROWS, 64, 2, 2) for _ in model.stages]
    trace = Trace(z[-1], torch.zeros(2 * ROWS, 64), [torch.zeros(1)] * len(f[:-1]) + [f[-1]])
    monkeypatch.setattr(model, "trace", lambda images: trace)
    method.exits = Given((z[:-1], f[:-1]))
    return method, z, f, method(batch._replace(mix=MIX), NOW)


def softmax(logits: Array, temperature: float) -> Array:
    return np.exp([log_softmax(row, temperature) for row in logits])


def through_the_mixture(gradient: Array) -> Array:
    """From the gradient of a mixture to that of what was mixed: the transpose of `mixed`."""
    result = np.zeros_like(gradient)
    for b, (p, w) in enumerate(zip(PARTNER, WEIGHT)):
        result[b] += w * gradient[b]
        result[p] += (1 - w) * gradient[b]
    return result


def test_mixskd_targets_of_the_heads_carry_no_gradient(leaves):
    """d KL_T(s <- t) / ds = T (p_s - p_t) / B, and nothing for t: each side learns from the other."""
    method, z, f, losses = leaves
    gradients = torch.autograd.grad(
        losses["mutual"], [*z, *f], allow_unused=True, retain_graph=True
    )
    T = method.temperature
    for logits, gradient in zip(z[:-1], gradients):
        p_inter = softmax(mixed(array(logits[:ROWS]), PARTNER, WEIGHT), T)
        p_mixup = softmax(array(logits[ROWS:]), T)
        toward = T * (p_inter - p_mixup) / ROWS
        expected = np.concatenate([through_the_mixture(toward), -toward])
        np.testing.assert_allclose(array(gradient), expected, **CLOSE)
    assert gradients[len(z) - 1 :] == (None,) * (1 + len(f))  # neither the last head, nor a map


def test_mixskd_self_teacher_is_a_target_and_crosses(leaves):
    """The interpolated head learns from the self-teacher of the mixup maps, and the reverse."""
    method, z, f, losses = leaves
    wanted = [*z, *f, *method.self_teacher.parameters()]
    found = torch.autograd.grad(
        losses["self_teacher"], wanted, allow_unused=True, retain_graph=True
    )
    inter = [mixed(array(v[:ROWS]), PARTNER, WEIGHT) for v in f]
    h_inter, h_mixup = (
        self_teacher(method, inter),
        self_teacher(method, [array(v[ROWS:]) for v in f]),
    )
    T, logits = method.temperature, array(z[-1])
    first = softmax(mixed(logits[:ROWS], PARTNER, WEIGHT), T) - softmax(h_mixup, T)
    second = softmax(logits[ROWS:], T) - softmax(h_inter, T)
    expected = T / ROWS * np.concatenate([through_the_mixture(first), second])
    np.testing.assert_allclose(array(found[len(z) - 1]), expected, **CLOSE)
    assert all(g is None for k, g in enumerate(found) if k != len(z) - 1)


def test_mixskd_feature_term_pulls_both_sides(leaves):
    _, z, f, losses = leaves
    gradients = torch.autograd.grad(
        losses["feature"], [*f, *z], allow_unused=True, retain_graph=True
    )
    for maps, gradient in zip(f, gradients):
        gap = mixed(array(maps[:ROWS]), PARTNER, WEIGHT) - array(maps[ROWS:])
        pull = 2 * gap / gap.size
        expected = np.concatenate([through_the_mixture(pull), -pull])
        np.testing.assert_allclose(array(gradient), expected, **CLOSE)
    assert gradients[len(f) :] == (None,) * len(z)


def test_mixskd_discriminators_teach_the_network_without_reversal(leaves):
    """A step of the maps down the gradient of the term lowers it: nothing is reversed."""
    method, _, f, losses = leaves
    gradients = torch.autograd.grad(losses["discriminator"], f, retain_graph=True)
    norm = sum(g.square().sum() for g in gradients)
    assert norm > 0
    with torch.no_grad():
        for maps, gradient in zip(f, gradients):
            maps -= 0.1 * gradient
        inter = [MIX.blend(v[:ROWS]) for v in f]
        after = total(d.loss(a, v[ROWS:]) for d, a, v in zip(method.discriminators, inter, f))
    change = (after - losses["discriminator"]).item()
    assert change == pytest.approx(-0.1 * norm.item(), rel=0.05)


def test_mixskd_sizes_on_cifar_100():
    """As measured on the released networks (resnet18, 100 classes)."""
    method = MixSKD(Classifier("cifar_resnet18", 100))
    millions = {
        name: round(sum(p.numel() for p in part.parameters()) / 1e6, 3)
        for name, part in method.named_children()
    }
    assert millions == {
        "model": 11.220,
        "exits": 30.060,
        "self_teacher": 1.100,
        "discriminators": 0.264,
    }
    assert "3 auxiliary branches: copies of the remaining stages" in method.exits.note
    ghost = method.to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ghost.exits(ghost.model.trace(torch.empty(1, 3, 32, 32, device="meta")).stages)
    assert counter.get_total_flops() / 2e9 == pytest.approx(1.361, abs=5e-4)
