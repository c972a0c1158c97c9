"""Methods that join maps by modules of their own, against their formulas in float64 loops."""

from copy import deepcopy
from itertools import product
from math import erf, exp, pi, sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_values import (
    CLASSES,
    MIX,
    PARTNER,
    ROWS,
    SIZE,
    WEIGHT,
    Array,
    array,
    cross_entropy,
    kl,
    mixed,
    one_hot,
)
from torch import Tensor, nn

from cohobate import fast
from cohobate.core import Batch, Method, Progress
from cohobate.losses import total
from cohobate.methods.ab import AB
from cohobate.methods.fsp import FSP
from cohobate.methods.ft import FT
from cohobate.methods.ft_paraphraser import FTParaphraser
from cohobate.methods.ofd import OFD
from cohobate.methods.residual_kd import ResidualKD
from cohobate.methods.reviewkd import ReviewKD
from cohobate.methods.semckd import SemCKD
from cohobate.methods.simkd import SimKD
from cohobate.models import Classifier
from cohobate.modules import frozen_keys

NOW = Progress(torch.tensor(0), 1, torch.tensor(0), 1)
MIXES = pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])
STUDENTS: list[Any] = [AB, FSP, FT, OFD, ResidualKD, ReviewKD, SemCKD, SimKD]


def used(network: Classifier) -> Classifier:
    """The network with statistics, scales and shifts that are not the initial ones, to predict."""
    draw = torch.Generator().manual_seed(5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=draw)
            nn.init.normal_(part.bias, 0, 0.5, generator=draw)
    network.train()(torch.rand(16, 3, SIZE, SIZE, generator=draw))
    return network.eval()


def teacher(arch: str = "cifar_resnet14") -> Classifier:
    torch.manual_seed(3)
    return used(Classifier(arch, CLASSES, mean=(0.1, 0.2, 0.3)))


def seen(batch: Batch) -> tuple[Tensor, Array]:
    """The images and the labels of a batch, mixed by hand."""
    if batch.mix is None:
        return batch.images, one_hot(batch.targets)
    images = torch.from_numpy(mixed(array(batch.images), PARTNER, WEIGHT)).float()
    return images, mixed(one_hot(batch.targets), PARTNER, WEIGHT)


def values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


def raw_maps(model: Classifier, images: Tensor) -> list[Tensor]:
    """What a thin ResNet's stages give before their last ReLU, block by block."""
    net, maps = model.net, []
    x = net.stem(model.normalise(images))
    for stage in (net.layer1, net.layer2, net.layer3):
        for block in stage:
            raw = block.conv2(block.conv1(x)) + block.shortcut(x)
            x = F.relu(raw)
        maps.append(raw)
    return maps


def gaussian_margin(norm: nn.BatchNorm2d) -> list[float]:
    margins = []
    for scale, mean in zip(norm.weight.tolist(), norm.bias.tolist()):
        deviation = abs(scale)
        below = 0.5 * (1 + erf(-mean / deviation / sqrt(2)))
        density = exp(-((mean / deviation) ** 2) / 2) / sqrt(2 * pi)
        margins.append(mean - deviation * density / below if below > 1e-3 else -3 * deviation)
    return margins


def mean_below_zero(maps: Array) -> list[float]:
    rows = [[v for v in maps[:, c].flatten() if v < 0] for c in range(maps.shape[1])]
    return [sum(row) / len(row) if row else 0.0 for row in rows]


def partial_error(guess: Array, target: Array, margins: list[float]) -> float:
    """The three cases of the authors' code, summed, over the images."""
    error = 0.0
    for b, c in product(range(len(guess)), range(len(margins))):
        s, t, m = guess[b, c], target[b, c], margins[c]
        error += ((s - m) ** 2)[(s > m) & (t <= m)].sum()
        error += ((s - t) ** 2)[(s > t) & (t > m) & (t <= 0)].sum()
        error += ((s - t) ** 2)[t > 0].sum()
    return float(error) / len(guess)


@MIXES
@pytest.mark.parametrize("arch", ["cifar_resnet14", "cifar_wrn_16_1"])
def test_ofd(model, batch, mix, arch):
    network, batch = teacher(arch), batch._replace(mix=mix)
    method = OFD(model, teacher=network, beta=0.01)
    losses = values(method(batch, NOW))
    images, label = seen(batch)
    mine = raw_maps(model, images)
    if arch == "cifar_resnet14":
        theirs = [array(f) for f in raw_maps(network, images)]
        stages = (network.net.layer1, network.net.layer2, network.net.layer3)
        margins = [gaussian_margin(stage[-1].conv2.bn) for stage in stages]
    else:
        theirs = [array(f) for f in network.trace(images).stages]
        margins = [mean_below_zero(f) for f in theirs]
    guesses = [array(join(f)) for join, f in zip(method.connectors, mine)]
    terms = [partial_error(*row) for row in zip(guesses, theirs, margins)]
    expected = 0.01 * (terms[0] / 4 + terms[1] / 2 + terms[2])
    assert losses == pytest.approx(
        {"ce": cross_entropy(array(model(images)), label), "feature": expected}, rel=1e-4
    )


def test_ofd_says_where_maps_and_margins_come_from(model):
    assert OFD(model, teacher=teacher()).note == (
        "maps: the student's before the last ReLU of each stage, the teacher's before the last ReLU"
        " of each stage"
    )
    method = OFD(Classifier("test_vit", CLASSES, size=SIZE), teacher=teacher("cifar_vgg8"))
    assert method.note.startswith("maps: the student's as they are tapped, the teacher's before")
    notes = [getattr(part, "note", "") for part in method.modules()]
    assert "margins: 4 from batch norms, 0 measured in each batch" in notes


def test_ofd_keeps_its_margins_with_the_teacher_that_they_are_of(model):
    method = OFD(model, teacher=teacher())
    assert {f"margins.net.margin{k}" for k in range(3)} <= frozen_keys(method)


def test_ofd_outlasts_the_folding_of_its_teachers_batch_norms(model, batch):
    method = OFD(model, teacher=teacher()).eval()
    expected = method(batch, NOW)
    assert fast.fold(method, batch) > 0
    torch.testing.assert_close(method(batch, NOW), expected, rtol=1e-4, atol=1e-5)


@MIXES
@pytest.mark.parametrize("arch", ["cifar_resnet14", "cifar_resnet8x4"])
def test_ab(model, batch, mix, arch):
    network, batch = teacher(arch), batch._replace(mix=mix)
    method = AB(model, teacher=network, margin=0.7, beta=0.01)
    assert isinstance(method.connectors[0], nn.Identity) == (arch == "cifar_resnet14")
    losses = values(method(batch, NOW))
    images, _ = seen(batch)
    terms = []
    for join, f, g in zip(method.connectors, raw_maps(model, images), raw_maps(network, images)):
        s, t = array(join(f)), array(g)
        fires = ((s - 0.7) ** 2)[(t > 0) & (s <= 0.7)].sum()
        rests = ((s + 0.7) ** 2)[(t <= 0) & (s > -0.7)].sum()
        terms.append(float(fires + rests) / ROWS)
    expected = 0.01 * (terms[0] / 4 + terms[1] / 2 + terms[2])
    assert losses == pytest.approx({"boundary": expected}, rel=1e-4)


@MIXES
@pytest.mark.parametrize("arch", ["cifar_resnet14", "cifar_vgg8"])
def test_fsp(model, batch, mix, arch):
    network, batch = teacher(arch), batch._replace(mix=mix)
    method = FSP(model, teacher=network, beta=3.0)
    losses = values(method(batch, NOW))
    images, _ = seen(batch)
    theirs = [array(f) for f in network.trace(images).stages]
    mine = [array(join(f)) for join, f in zip(method.connectors, model.trace(images).stages)]
    if arch == "cifar_vgg8":
        theirs = [theirs[place] for place in (0, 1, 3)]

    def matrix(first: Array, second: Array) -> Array:
        height = second.shape[-1]
        step = first.shape[-1] // height
        found = np.zeros((ROWS, first.shape[1], second.shape[1]))
        for y, x in product(range(height), repeat=2):
            part = first[:, :, step * y : step * (y + 1), step * x : step * (x + 1)]
            pixel = part.sum((2, 3)) / step**2
            found += pixel[:, :, None] * second[:, None, :, y, x] / height**2
        return found

    expected = 0.0
    for k in (0, 1):
        gap = matrix(mine[k], mine[k + 1]) - matrix(theirs[k], theirs[k + 1])
        expected += 3 * float((gap**2).sum()) / gap.size
    assert losses == pytest.approx({"flow": expected}, rel=1e-4)


@pytest.mark.parametrize("kind", [AB, FSP])
def test_a_first_stage_teaches_no_classifier(model, batch, kind):
    method = kind(model, teacher=teacher())
    total(method(batch, NOW).values()).backward()
    head = model.net.get_classifier()
    assert not head.weight.grad.any()
    assert not head.bias.grad.any()
    assert model.net.layer3[0].conv1.conv.weight.grad.any()


def test_fsp_refuses_a_network_of_one_stage(model):
    model.stages = model.stages[-1:]
    sentence = "'cifar_resnet8' has 1 stage .* 2 or more: choose another"
    with pytest.raises(ValueError, match=sentence):
        FSP(model, teacher=teacher())


@MIXES
@pytest.mark.parametrize("frozen", [True, False])
def test_ft_paraphraser(batch, mix, frozen):
    network, batch = teacher(), batch._replace(mix=mix)
    method = FTParaphraser(network, rate=0.25, frozen=frozen).train()
    assert method.paraphraser.width == 16
    losses = values(method(batch, NOW))
    images, label = seen(batch)
    trace = network.trace(images)
    gap = array(method.paraphraser(trace.stages[-1])) - array(trace.stages[-1])
    expected = {"reconstruction": float((gap**2).sum()) / gap.size}
    if not frozen:
        expected["ce"] = cross_entropy(array(trace.logits), label)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_ft_paraphraser_leaves_a_frozen_network_as_it_is(batch):
    method = FTParaphraser(teacher(), frozen=True).train()
    before = deepcopy(method.model.state_dict())
    method(batch, NOW)["reconstruction"].backward()
    torch.testing.assert_close(method.model.state_dict(), before, rtol=0, atol=0)
    assert not any(p.requires_grad for p in method.model.parameters())
    assert all(p.grad is not None for p in method.paraphraser.parameters())


def test_ft_paraphraser_takes_no_part_in_what_a_network_learns(batch):
    method = FTParaphraser(teacher())
    method(batch, NOW)["reconstruction"].backward()
    assert all(p.grad is None for p in method.model.parameters())


@MIXES
@pytest.mark.parametrize("pooled", [False, True])
def test_ft(model, batch, mix, pooled):
    paraphrased, batch = FTParaphraser(teacher()), batch._replace(mix=mix)
    encoder = deepcopy(paraphrased.paraphraser.encoder)
    method = FT(model, teacher=paraphrased, beta=20.0, pooled=pooled)
    losses = values(method(batch, NOW))
    images, label = seen(batch)
    trace = model.trace(images)
    mine = array(method.translator(trace.stages[-1]))
    theirs = array(encoder(method.teacher.net.trace(images).stages[-1]))
    assert mine.shape == theirs.shape == (ROWS, 32, 8, 8)
    gap, count = 0.0, 0
    for one, other in zip(mine, theirs):
        if pooled:
            one, other = (sum(c**2 for c in row) / len(row) for row in (one, other))
        norms = [sqrt(sum(v * v for v in row.flatten())) for row in (one, other)]
        gap += float(abs(one / norms[0] - other / norms[1]).sum())
        count += one.size
    expected = {"ce": cross_entropy(array(trace.logits), label), "factors": 20 * gap / count}
    assert losses == pytest.approx(expected, rel=1e-4)


@MIXES
@pytest.mark.parametrize("arch", ["cifar_resnet14", "cifar_vgg8"])
def test_simkd(model, batch, mix, arch):
    network, batch = teacher(arch), batch._replace(mix=mix)
    method = SimKD(model, teacher=network, beta=2.0)
    losses = values(method(batch, NOW))
    images, label = seen(batch)
    trace, target = model.trace(images), array(network.trace(images).stages[-1])
    source = trace.stages[-1]
    if arch == "cifar_vgg8":  # 4 × 4 pixels, where the student has 8 × 8
        rows = [source[:, :, y::2, x::2] for y, x in product((0, 1), repeat=2)]
        source = (rows[0] + rows[1] + rows[2] + rows[3]) / 4
    gap = array(method.projector(source)) - target
    expected = {
        "ce": cross_entropy(array(trace.logits), label),
        "feature": 2 * float((gap**2).sum()) / gap.size,
    }
    assert losses == pytest.approx(expected, rel=1e-4)


def test_simkd_joins_embeddings_where_there_is_no_map(batch):
    torch.manual_seed(0)
    vit, network = Classifier("test_vit", CLASSES, size=SIZE), teacher()
    method = SimKD(vit, teacher=network)
    guess = array(method.projector(vit.trace(batch.images).embedding[:, :, None, None]))
    gap = guess[:, :, 0, 0] - array(network.trace(batch.images).embedding)
    expected = float((gap**2).sum()) / gap.size
    assert method(batch, NOW)["feature"].item() == pytest.approx(expected, rel=1e-4)


def test_simkds_labels_train_the_head_alone(model, batch):
    method = SimKD(model, teacher=teacher())
    losses = method(batch, NOW)
    losses["ce"].backward(retain_graph=True)
    head = {*model.head().parameters()}
    assert {p for p in method.parameters() if p.grad is not None} == head
    method.zero_grad()
    losses["feature"].backward()
    assert {p for p in model.parameters() if p.grad is None} == head


@MIXES
def test_semckd(model, batch, mix):
    network, batch = teacher("cifar_vgg8"), batch._replace(mix=mix)
    method = SemCKD(model, teacher=network, temperature=2.0, alpha=0.5, beta=7.0, width=3)
    losses = values(method(batch, NOW))
    images, label = seen(batch)
    trace, target = model.trace(images), network.trace(images)

    def unit(part: nn.Sequential, maps: Tensor) -> Array:
        first, _, second = part[2:5]
        rows = []
        for row in array(maps):
            x = np.array([channel.sum() / channel.size for channel in row])
            x = np.maximum(array(first.weight) @ x + array(first.bias), 0)
            x = array(second.weight) @ x + array(second.bias)
            rows.append(x / sqrt(sum(v * v for v in x)))
        return np.stack(rows)

    queries = [unit(part, f) for part, f in zip(method.queries, trace.stages)]
    keys = [unit(part, f) for part, f in zip(method.keys, target.stages)]
    assert (len(queries), len(keys)) == (3, 4)
    expected = 0.0
    for s, t in product(range(3), range(4)):
        f, g = trace.stages[s], target.stages[t]
        side = min(f.shape[-1], g.shape[-1])
        pooled = [F.avg_pool2d(maps, maps.shape[-1] // side) for maps in (f, g)]
        gap = array(method.projectors[s][t](pooled[0])) - array(pooled[1])
        for b in range(ROWS):
            energy = [exp(queries[s][b] @ key[b]) for key in keys]
            error = float((gap[b] ** 2).sum()) / gap[b].size
            expected += 7 * energy[t] / sum(energy) * error / (ROWS * 3)
    assert losses == pytest.approx(
        {
            "ce": cross_entropy(array(trace.logits), label),
            "kd": 0.5 * kl(array(trace.logits), array(target.logits), 2.0),
            "feature": expected,
        },
        rel=1e-4,
    )


def scaled(maps: Tensor, side: int) -> Tensor:
    """To the nearest: every pixel of the result takes that of the map it lies in."""
    places = [place * maps.shape[-1] // side for place in range(side)]
    return maps[:, :, places][:, :, :, places]


@MIXES
@pytest.mark.parametrize(
    "epoch, epochs, rise", [(0, 100, 0.05), (4, 100, 0.25), (40, 100, 1.0), (1, 12, 1 / 3)]
)
def test_reviewkd(model, batch, mix, epoch, epochs, rise):
    network, batch = teacher(), batch._replace(mix=mix)
    method = ReviewKD(model, teacher=network, beta=3.0)
    losses = values(method(batch, Progress(torch.tensor(epoch), epochs, torch.tensor(0), 1)))
    images, label = seen(batch)
    trace = model.trace(images)
    mine = [trace.embedding[:, :, None, None], *reversed(trace.stages)]
    theirs = [
        network.trace(images).embedding[:, :, None, None],
        *reversed(raw_maps(network, images)),
    ]
    left, expected = None, 0.0
    for fusion, f, g in zip([method.first, *method.others], mine, theirs):
        x = fusion.enter(f)
        if left is not None:
            left = scaled(left, f.shape[-1])
            share = 1 / (1 + torch.exp(-fusion.weigh(torch.cat([x, left], 1))))
            x = x * share[:, 0:1] + left * share[:, 1:2]
        left = scaled(x, g.shape[-1])
        gap = fusion.leave(left) - g
        terms = [(1.0, float((array(gap) ** 2).mean()))]
        for parts in (4, 2, 1):
            if parts < gap.shape[-1]:
                pooled = array(F.avg_pool2d(gap, gap.shape[-1] // parts))
                terms.append((terms[-1][0] / 2, float((pooled**2).sum()) / pooled.size))
        expected += sum(w * v for w, v in terms) / sum(w for w, _ in terms)
    assert losses == pytest.approx(
        {
            "ce": cross_entropy(array(trace.logits), label),
            "review": rise * 3 * expected,
        },
        rel=1e-4,
    )


@MIXES
def test_residual_kd(model, batch, mix):
    network, batch = teacher("cifar_vgg8"), batch._replace(mix=mix)
    method = ResidualKD(model, teacher=network, beta=3.0, gamma=5.0)
    losses = values(method(batch, NOW))
    images, label = seen(batch)
    trace = model.trace(images)
    lacking = array(network.trace(images).stages[-1]) - array(method.connector(trace.stages[-1]))
    rest = lacking - array(method.assistant(trace.stages[0]))
    expected = {
        "ce": cross_entropy(array(trace.logits), label),
        "feature": 3 * float((lacking**2).sum()) / lacking.size,
        "residual": 5 * float((rest**2).sum()) / rest.size,
    }
    assert losses == pytest.approx(expected, rel=1e-4)


PAIRS = {
    "more stages": ("cifar_vgg8", "cifar_wrn_16_1"),
    "fewer stages": ("cifar_resnet8", "cifar_vgg8"),
    "convolutions from a transformer": ("cifar_resnet8", "test_vit"),
    "a transformer from convolutions": ("test_vit", "cifar_mobilenetv2"),
    "a network of timm's": ("test_efficientnet", "resnet10t"),
}


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS)
def test_any_network_learns_from_any(batch, kind, names):
    torch.manual_seed(0)
    student, network = (Classifier(name, CLASSES, size=SIZE) for name in names)
    method: Method = kind(student, teacher=FTParaphraser(network) if kind is FT else network)
    losses = method(batch, NOW)
    assert all(loss.isfinite() for loss in losses.values())
    total(losses.values()).backward()
    assert [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None] == []


DEFAULTS = {
    AB: {"margin": 1.0, "beta": 3e-3},
    FSP: {"beta": 1.0},
    OFD: {"beta": 1e-3},
    ReviewKD: {"beta": 5.0, "warmup": 20},
    SemCKD: {"temperature": 4.0, "alpha": 1.0, "beta": 400.0},
    SimKD: {"beta": 1.0},
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_has_the_weights_of_the_paper(model, kind):
    method = kind(model, teacher=Classifier("cifar_resnet8", CLASSES))
    assert {name: getattr(method, name) for name in DEFAULTS[kind]} == DEFAULTS[kind]
