"""What the methods that learn from maps and embeddings compute, against their formulas in loops."""

from itertools import product
from math import exp, log, log1p, sqrt

import numpy as np
import pytest
import torch
from test_values import (
    MIX,
    NOW,
    PARTNER,
    WEIGHT,
    Array,
    array,
    cross_entropy,
    mixed,
    mixed_label,
    one_hot,
)

from cohobate.core import Batch, Method
from cohobate.losses import total
from cohobate.methods.at import AT
from cohobate.methods.cc import CC
from cohobate.methods.fitnet import FitNet
from cohobate.methods.nfd import NFD
from cohobate.methods.nst import NST
from cohobate.methods.pkt import PKT
from cohobate.methods.rkd import RKD
from cohobate.methods.sp import SP
from cohobate.methods.vid import VID
from cohobate.models import Classifier, Trace

CLASSES, SIZE, ROWS = 5, 32, 4
KINDS: list[type[Method]] = [AT, CC, FitNet, NFD, NST, PKT, RKD, SP, VID]
MIXES = pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])


@pytest.fixture
def teacher() -> Classifier:
    """A network of other widths than the student, whose maps are neither of its sizes nor tiny."""
    torch.manual_seed(7)
    net = Classifier("cifar_mobilenetv2", CLASSES, size=SIZE)
    with torch.no_grad():
        for _ in range(30):  # the running statistics of its batch norms
            net(torch.rand(8, 3, SIZE, SIZE))
    return net


def seen(method: Method, batch: Batch) -> tuple[Trace, Trace, float]:
    """What student and teacher make of the images, and the cross-entropy of the student."""
    images, label = batch.images, one_hot(batch.targets)
    if batch.mix is not None:
        images = torch.from_numpy(mixed(array(images), PARTNER, WEIGHT)).float()
        label = mixed_label(batch)
    student, teacher = method.model.trace(images), method.teacher.net.eval().trace(images)
    return student, teacher, cross_entropy(array(student.logits), label)


def check(method: Method, batch: Batch, expected: dict[str, float], rel: float = 2e-4) -> None:
    losses = method(batch, NOW)
    assert {name: loss.item() for name, loss in losses.items()} == {
        name: pytest.approx(value, rel=rel, abs=1e-6) for name, value in expected.items()
    }


def averaged(maps: Array, height: int, width: int) -> Array:
    """Maps over whose patches of equal size the mean is taken."""
    tall, wide = maps.shape[2] // height, maps.shape[3] // width
    assert (tall * height, wide * width) == maps.shape[2:]
    result = np.zeros((*maps.shape[:2], height, width))
    for y, x in product(range(height), range(width)):
        patch = maps[:, :, y * tall : (y + 1) * tall, x * wide : (x + 1) * wide]
        result[:, :, y, x] = patch.mean((2, 3))
    return result


def meetings(student: Trace, teacher: Trace) -> list[tuple[Array, Array]]:
    """The student's three maps and the teacher's of the stages evenly before its last."""
    count = len(teacher.stages)
    assert len(student.stages) == 3 < count
    chosen = [teacher.stages[k * count // 3 - 1] for k in (1, 2, 3)]
    result = []
    for own, other in zip(map(array, student.stages), map(array, chosen)):
        height, width = min(own.shape[2], other.shape[2]), min(own.shape[3], other.shape[3])
        result.append((averaged(own, height, width), averaged(other, height, width)))
    assert any(f.shape != array(g).shape for (f, _), g in zip(result, student.stages))
    return result


def smooth(gap: float) -> float:
    """The smooth L1 loss of a difference."""
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def convolved(layer: torch.nn.Conv2d, maps: Array) -> Array:
    """A 1×1 convolution without bias."""
    return np.einsum("oi,bihw->bohw", array(layer.weight)[:, :, 0, 0], maps)


@MIXES
@pytest.mark.parametrize("stage, rectified", [(2, True), (1, False)])
def test_fitnet(model, batch, mix, stage, rectified):
    """Batch norm of a 1×1 convolution, rectified or not, against a map of the same size."""
    wide = Classifier("cifar_resnet8x4", CLASSES)
    method = FitNet(model, teacher=wide, stage=stage, rectified=rectified, gamma=0.5, beta=3)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)
    convolution = method.regressor.layers[0]
    guess = convolved(convolution, array(student.stages[stage - 1]))
    mean, variance = guess.mean((0, 2, 3)), guess.var((0, 2, 3))
    guess = (guess - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
    guess = np.maximum(guess, 0) if rectified else guess
    target = array(told.stages[stage - 1])
    gaps = [(g - t) ** 2 for g, t in zip(guess.flat, target.flat, strict=True)]
    check(method, batch, {"ce": 0.5 * ce, "hint": 3 * sum(gaps) / len(gaps)})


@MIXES
def test_at(model, teacher, batch, mix):
    method = AT(model, teacher=teacher, gamma=0.5, beta=30)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)

    def attention(maps: Array) -> Array:
        energy = np.array([sum(channel**2 for channel in image) / len(image) for image in maps])
        return np.array([image / sqrt((image**2).sum()) for image in energy])

    terms = [(attention(f) - attention(t)) ** 2 for f, t in meetings(student, told)]
    check(method, batch, {"ce": 0.5 * ce, "attention": 30 * sum(term.mean() for term in terms)})


@MIXES
def test_nst(model, teacher, batch, mix):
    """1/C² sum k(f, f') + 1/D² sum k(t, t') - 2/CD sum k(f, t), channel by channel."""
    method = NST(model, teacher=teacher, gamma=0.5, beta=30)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)

    def kernel(left: list[Array], right: list[Array]) -> float:
        return sum(float(a @ b) ** 2 for a in left for b in right) / (len(left) * len(right))

    expected = 0.0
    for f, t in meetings(student, told):
        for own, other in zip(f, t):
            a, b = (
                [v.ravel() / max(sqrt(float((v**2).sum())), 1e-12) for v in channels]
                for channels in (own, other)
            )
            expected += (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)) / ROWS
    check(method, batch, {"ce": 0.5 * ce, "selectivity": 30 * expected})


@MIXES
def test_sp(model, teacher, batch, mix):
    method = SP(model, teacher=teacher, gamma=0.5, beta=30)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)

    def similarities(maps: Array) -> Array:
        gram = np.array([[float((a * b).sum()) for b in maps] for a in maps])
        return np.array([row / sqrt(sum(row**2)) for row in gram])

    gap = similarities(array(student.stages[-1])) - similarities(array(told.stages[-1]))
    expected = sum(g**2 for g in gap.flat) / ROWS**2
    check(method, batch, {"ce": 0.5 * ce, "similarity": 30 * expected})


@MIXES
def test_cc(model, teacher, batch, mix):
    method = CC(model, teacher=teacher, width=6, gamma=0.5, beta=0.3)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)

    def embedded(layer: torch.nn.Linear, rows: Array) -> Array:
        return np.array([array(layer.weight) @ row + array(layer.bias) for row in rows])

    own = embedded(method.embeddings.student, array(student.embedding))
    other = embedded(method.embeddings.teacher, array(told.embedding))
    off = [[abs(a - b) for a, b in zip(s, t)] for s, t in zip(own, other)]
    products = [sum(a * b for a, b in zip(off[k], off[k + 1])) for k in range(ROWS - 1)]
    check(method, batch, {"ce": 0.5 * ce, "correlation": 0.3 * sum(products) / (ROWS - 1)})


@MIXES
def test_vid(model, teacher, batch, mix):
    method = VID(model, teacher=teacher, gamma=0.5, beta=3)
    with torch.no_grad():
        for spread in method.spreads:
            spread += torch.linspace(-2, 1, len(spread))
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)
    expected = 0.0
    for (f, t), mean, spread in zip(meetings(student, told), method.means, method.spreads):
        first, _, second, _, third = mean
        guess = np.maximum(convolved(first, f), 0)
        guess = convolved(third, np.maximum(convolved(second, guess), 0))
        for channel, raw in enumerate(array(spread)):
            variance = log1p(exp(raw)) + 1e-5
            gaps = (t[:, channel] - guess[:, channel]) ** 2
            expected += (gaps / variance + log(variance)).mean() / 2 / len(spread)
    check(method, batch, {"ce": 0.5 * ce, "information": 3 * expected})


def test_vid_begins_with_a_variance_of_five(model, teacher):
    for spread in VID(model, teacher=teacher).spreads:
        variance = [log1p(exp(raw)) + 1e-5 for raw in array(spread)]
        assert variance == pytest.approx([5.0] * len(spread))


@MIXES
def test_rkd(model, teacher, batch, mix):
    method = RKD(model, teacher=teacher, distance=2, angle=3, gamma=0.5, beta=10)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)
    rows = range(ROWS)

    def distances(points: Array) -> Array:
        result = np.array([[sqrt(sum((a - b) ** 2)) for b in points] for a in points])
        return result / (result.sum() / (ROWS * (ROWS - 1)))

    def cosine(points: Array, i: int, j: int, k: int) -> float:
        if i in (j, k):
            return 0.0
        a, b = points[j] - points[i], points[k] - points[i]
        return float(a @ b) / sqrt(float(a @ a) * float(b @ b))

    own, other = array(student.embedding), array(told.embedding)
    gaps = (distances(own) - distances(other)).flat
    turns = [cosine(own, *corner) - cosine(other, *corner) for corner in product(rows, repeat=3)]
    expected = {
        "ce": 0.5 * ce,
        "distance": 20 * sum(map(smooth, gaps)) / ROWS**2,
        "angle": 30 * sum(map(smooth, turns)) / ROWS**3,
    }
    check(method, batch, expected, rel=1e-3)  # differences of embeddings that are much alike


@MIXES
def test_pkt(model, teacher, batch, mix):
    method = PKT(model, teacher=teacher, gamma=0.5, beta=30_000)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)

    def affinities(points: Array) -> Array:
        units = [v / sqrt(float(v @ v)) for v in points]
        rows = [[(1 + float(a @ b)) / 2 for b in units] for a in units]
        return np.array([[value / sum(row) for value in row] for row in rows])

    q, p = affinities(array(student.embedding)), affinities(array(told.embedding))
    gap = sum(a * log(a / b) for a, b in zip(p.flat, q.flat)) / ROWS**2
    losses = method(batch, NOW)
    assert losses["ce"].item() == pytest.approx(0.5 * ce, rel=1e-5)
    # float32 knows the affinities to 1e-7, and the weight is 3e4
    assert losses["affinity"].item() == pytest.approx(30_000 * gap, rel=1e-3, abs=5e-3)
    assert gap > 4e-6


@MIXES
def test_nfd(model, teacher, batch, mix):
    method = NFD(model, teacher=teacher, gamma=0.5, beta=3)
    batch = batch._replace(mix=mix)
    student, told, ce = seen(method, batch)
    expected = 0.0
    for (f, t), layer in zip(meetings(student, told), method.layers):
        gaps = []
        for own, other in zip(convolved(layer, f), t):
            for a, b in zip(own, other):
                a, b = ((v - v.mean()) / (sqrt(((v - v.mean()) ** 2).mean()) or 1) for v in (a, b))
                gaps.append(((a - b) ** 2).mean())
        expected += sum(gaps) / len(gaps)
    check(method, batch, {"ce": 0.5 * ce, "feature": 3 * expected})


def transformer(depth: int) -> Classifier:
    return Classifier("vit_tiny_patch16_224", CLASSES, img_size=SIZE, patch_size=8, depth=depth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "own, other",
    [
        (lambda: Classifier("cifar_resnet8", CLASSES), lambda: transformer(2)),
        (lambda: transformer(1), lambda: Classifier("cifar_resnet8x4", CLASSES)),
        (lambda: transformer(3), lambda: transformer(5)),
        (
            lambda: Classifier("resnet10t", CLASSES, size=SIZE),
            lambda: Classifier("tinynet_e", CLASSES, size=SIZE),
        ),
    ],
    ids=["cnn<-transformer", "transformer<-cnn", "transformer<-transformer", "timm"],
)
def test_any_two_networks(kind, own, other, batch):
    """Of other kinds, widths, sizes and numbers of stages; of one image, too."""
    model, teacher = own(), other()
    given = {"stage": 1} if kind is FitNet else {}
    method = kind(model, teacher=teacher, **given).eval()
    for rows in (ROWS, 1):
        few = Batch(batch.images[:rows], batch.targets[:rows], batch.ids[:rows])
        losses = method(few, NOW)
        method.zero_grad()
        total(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values())
        grads = [p.grad for p in method.parameters() if p.requires_grad]
        assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_fitnet_says_which_stages_there_are(model, teacher):
    with pytest.raises(ValueError, match=r"method\.stage=4: 'cifar_resnet8' has 3 .* from 1 to 3"):
        FitNet(model, teacher=teacher, stage=4)


def test_nfd_asks_for_more_than_a_pixel(model):
    small = [Classifier("cifar_resnet8", CLASSES, size=4), Classifier("resnet18", CLASSES, size=4)]
    with pytest.raises(ValueError, match=r"'cifar_resnet8'.*'resnet18', no two maps.*: choose a"):
        NFD(small[0], teacher=small[1])
