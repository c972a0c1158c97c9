"""Methods that compare images with one another, against their formulas written with loops in float64."""

from copy import deepcopy
from math import exp, log

import numpy as np
import pytest
import torch
from test_values import (
    CLASSES,
    MIX,
    PARTNER,
    ROWS,
    WEIGHT,
    array,
    cross_entropy,
    kl,
    log_softmax,
    mixed,
    one_hot,
)
from torch import nn

from cohobate.core import Batch, Progress
from cohobate.losses import total
from cohobate.methods.crd import CRD
from cohobate.methods.icsd import ICSD
from cohobate.methods.sskd import SSKD
from cohobate.methods.sskd_teacher import SSKDTeacher
from cohobate.methods.wcord import WCoRD
from cohobate.models import Classifier
from cohobate.modules import Banks
from cohobate.modules.banks import drawn_ids

SAMPLES, WIDTH, DRAWN = 12, 8, 40
MIXES = pytest.mark.parametrize("mix", [None, MIX], ids=["plain", "mixed"])

Array = np.ndarray


@pytest.fixture
def teacher() -> Classifier:
    torch.manual_seed(1)
    teacher = Classifier("cifar_resnet14", CLASSES, mean=(0.1, 0.2, 0.3)).eval()
    with torch.no_grad():
        teacher.net.get_classifier().weight.mul_(20)  # sure of itself
    return teacher


def at(step: int, epoch: int = 0, epochs: int = 4) -> Progress:
    return Progress(torch.tensor(epoch), epochs, torch.tensor(step), 9)


def inputs(batch: Batch) -> torch.Tensor:
    """The images as the networks see them."""
    images = array(batch.images)
    return torch.from_numpy(images if batch.mix is None else mixed(images, PARTNER, WEIGHT)).float()


def soft_labels(batch: Batch) -> Array:
    label = one_hot(batch.targets)
    return label if batch.mix is None else mixed(label, PARTNER, WEIGHT)


def unit(rows: Array) -> Array:
    return np.stack([row / sum(x * x for x in row) ** 0.5 for row in rows])


def projected(head: nn.Linear, embedding: torch.Tensor) -> Array:
    """Rows through a linear layer, of unit norm."""
    weight, bias = array(head.weight), array(head.bias)
    return unit(np.stack([weight @ row + bias for row in array(embedding)]))


# The hash that draws images, in Python's own integers.
def scrambled(word: int) -> int:
    word ^= word >> 16
    word = word * 0x7FEB352D % 2**32
    word ^= word >> 15
    word = word * 0x846CA68B % 2**32
    return word ^ (word >> 16)


def drawn(image: int, step: int, count: int, samples: int) -> list[int]:
    row = scrambled(image ^ scrambled(step))
    return [scrambled(row ^ scrambled(k + 1)) % samples for k in range(count)]


def test_images_are_drawn_by_their_id_and_the_step():
    ids = torch.tensor([3, 49_999, 0])
    actual = drawn_ids(ids, torch.tensor(77), 20, 50_000)
    assert actual.tolist() == [drawn(image, 77, 20, 50_000) for image in ids.tolist()]
    assert torch.equal(drawn_ids(ids.flip(0), torch.tensor(77), 20, 50_000), actual.flip(0))


def test_images_are_drawn_evenly():
    """Of 200,000 draws of ten images, chi squared with 9 degrees of freedom; and pairs are free."""
    many = torch.cat([drawn_ids(torch.arange(20), torch.tensor(s), 1000, 10) for s in range(10)])
    for value in (many.flatten(), (many[:, 1:] * 7 + many[:, :-1]).flatten() % 10, many[::20, 5]):
        seen = value.bincount(minlength=10).double()
        even = len(value) / 10
        assert ((seen - even).square() / even).sum() < 30


def test_banks_start_as_random_directions():
    banks = Banks(2000, 64, negatives=3, momentum=0.5)
    for bank in (banks.student, banks.teacher):
        torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(2000))
        products = (bank.rows @ bank.rows.t()).flatten()
        assert products.std().item() == pytest.approx(64**-0.5, rel=0.05)
        assert bank.rows.mean().abs() < 0.01
    across = (banks.student.rows * banks.teacher.rows).sum(1)
    assert across.std().item() == pytest.approx(64**-0.5, rel=0.1)
    again = Banks(2000, 64, negatives=3, momentum=0.5)
    torch.testing.assert_close(again.state_dict(), banks.state_dict(), rtol=0, atol=0)


def test_banks_say_how_large_they_are():
    notes = [bank.note for bank in Banks(50_000, 128, negatives=3, momentum=0.5).children()]
    assert len(notes) == 3
    assert "50,000 × 128 numbers, 25.6 MB" in notes[0]


class Remembered:
    """What CRD remembers, in plain numpy: rows of both networks, classes, and z of both anchors."""

    def __init__(self, method):
        self.student, self.teacher = (
            array(bank.rows).copy() for bank in (method.banks.student, method.banks.teacher)
        )
        self.classes: dict[int, int] = {}
        self.z: list[float] = []

    def contrast(self, rows, others, bank, batch, step, temperature):
        """For each row: e^score of its partner, and of each image drawn with whether it counts."""
        past = [
            bank[i] if i in self.classes else others[b] for b, i in enumerate(batch.ids.tolist())
        ]
        if batch.mix is not None:
            past = mixed(np.stack(past), PARTNER, WEIGHT)
        found = []
        for b, image in enumerate(batch.ids.tolist()):
            owners = {b} if batch.mix is None else {b, PARTNER[b]}
            images = {int(batch.ids[o]) for o in owners}
            classes = {int(batch.targets[o]) for o in owners}
            negatives = []
            for j in drawn(image, step, DRAWN, SAMPLES):
                counts = j not in images and self.classes.get(j) not in classes
                negatives.append((exp(rows[b] @ bank[j] / temperature), counts))
            found.append((exp(rows[b] @ past[b] / temperature), negatives))
        return found

    def write(self, student, teacher, batch):
        for bank, rows in ((self.student, student), (self.teacher, teacher)):
            for b, i in enumerate(batch.ids.tolist()):
                moved = 0.5 * bank[i] + 0.5 * rows[b] if i in self.classes else rows[b]
                bank[i] = moved / sum(x * x for x in moved) ** 0.5
        self.classes |= dict(zip(batch.ids.tolist(), batch.targets.tolist()))


def crd_by_hand(method, memory: Remembered, batch: Batch, step: int) -> float:
    images = inputs(batch)
    student = projected(method.embeddings.student, method.model.trace(images).embedding)
    teacher = projected(method.embeddings.teacher, method.teacher.trace(images).embedding)
    sides = [(student, teacher, memory.teacher), (teacher, student, memory.student)]
    found = [memory.contrast(*side, batch, step, method.contrast_temperature) for side in sides]
    if not memory.z:
        for rows in found:
            every = [p for p, _ in rows] + [n for _, negatives in rows for n, _ in negatives]
            memory.z.append(sum(every) / len(every))
    value = 0.0
    for rows, z in zip(found, memory.z):
        least = DRAWN * z
        for positive, negatives in rows:
            value -= log(positive / (positive + least)) / ROWS
            kept = [n for n, counts in negatives if counts]
            value -= sum(log(least / (n + least)) for n in kept) * DRAWN / max(len(kept), 1) / ROWS
    memory.write(student, teacher, batch)
    return value


def three_steps(batch: Batch, mix):
    """Batches of images never seen, of some that were, and of all of them once more."""
    for step, ids in enumerate(([0, 1, 2, 3], [7, 2, 11, 0], [3, 0, 2, 7])):
        targets = torch.tensor([[0, 3, 1, 3], [4, 1, 2, 0], [3, 0, 1, 4]][step])
        yield step, Batch(batch.images.roll(step, 0), targets, torch.tensor(ids), mix)


def assert_remembered(method, memory: Remembered) -> None:
    for bank, rows in (
        (method.banks.student, memory.student),
        (method.banks.teacher, memory.teacher),
    ):
        np.testing.assert_allclose(array(bank.rows), rows, atol=1e-5)


def plain_terms(method, batch: Batch) -> dict[str, float]:
    """The cross-entropy, and KD at temperature 2.5."""
    images = inputs(batch)
    logits, target = array(method.model(images)), array(method.teacher(images))
    return {
        "ce": method.gamma * cross_entropy(logits, soft_labels(batch)),
        "kd": method.alpha * kl(logits, target, 2.5),
    }


@MIXES
def test_crd(model, batch, teacher, mix):
    method = CRD(
        model.eval(),
        teacher=teacher,
        samples=SAMPLES,
        width=WIDTH,
        negatives=DRAWN,
        alpha=0.5,
        temperature=2.5,
        beta=0.3,
    )
    memory = Remembered(method)
    for step, now in three_steps(batch, mix):
        losses = {name: loss.item() for name, loss in method(now, at(step)).items()}
        expected = plain_terms(method, now)
        expected["contrast"] = 0.3 * crd_by_hand(method, memory, now, step)
        assert losses == pytest.approx(expected, rel=1e-4), step
        assert_remembered(method, memory)
    z = [log(value) for value in memory.z]
    np.testing.assert_allclose(array(method.partition), z, rtol=1e-4)
    assert method.since.item() == 0


def test_crd_has_the_settings_of_repdistiller(model, teacher):
    method = CRD(model, teacher=teacher, samples=SAMPLES)
    assert (method.banks.negatives, method.banks.momentum) == (16384, 0.5)
    assert (method.contrast_temperature, method.temperature) == (0.07, 4.0)
    assert (method.gamma, method.alpha, method.beta) == (1.0, 0.0, 0.8)
    assert method.banks.student.rows.shape == (SAMPLES, 128)


def plan(cost: Array, regularisation: float, iterations: int) -> Array:
    """Sinkhorn: the columns and the rows of a kernel are scaled in turn to sum to one over B."""
    kernel, left = np.exp(-cost / regularisation), np.ones(len(cost))
    for _ in range(iterations):
        right = 1 / len(cost) / (left @ kernel)
        left = 1 / len(cost) / (kernel @ right)
    return left[:, None] * kernel * right[None, :]


@MIXES
def test_wcord(model, batch, teacher, mix):
    method = WCoRD(
        model.eval(),
        teacher=teacher,
        width=WIDTH,
        contrast_temperature=0.2,
        temperature=2.5,
        regularisation=0.3,
        iterations=7,
        gamma=0.9,
        alpha=0.5,
        dual=0.6,
        primal=0.7,
    )
    batch = batch._replace(mix=mix)
    losses = {name: loss.item() for name, loss in method(batch, at(0)).items()}
    expected, images = plain_terms(method, batch), inputs(batch)
    student = projected(method.embeddings.student, model.trace(images).embedding)
    target = projected(method.embeddings.teacher, teacher.trace(images).embedding)
    product = np.array([[s @ t for t in target] for s in student])
    pairs = [product[b, b] for b in range(ROWS)]
    others = [product[b, c] for b in range(ROWS) for c in range(ROWS) if b != c]
    expected["dual"] = 0.6 * (sum(others) / len(others) - sum(pairs) / len(pairs)) / 0.2
    expected["primal"] = 0.7 * (plan(1 - product, 0.3, 7) * (1 - product)).sum()
    assert losses == pytest.approx(expected, rel=1e-4)


def test_wcord_trains_the_teachers_side_by_pairs_alone(model, batch, teacher):
    method = WCoRD(model, teacher=teacher)
    losses = method(batch, at(0))
    weights = [method.embeddings.student.weight, method.embeddings.teacher.weight]
    for name, reached in [("dual", [True, True]), ("primal", [True, False])]:
        grads = torch.autograd.grad(losses[name], weights, retain_graph=True, allow_unused=True)
        assert [grad is not None and bool(grad.any()) for grad in grads] == reached


def similarities(logits: Array, temperature: float) -> Array:
    """S_ij = sum over images of P_i log (P_i / P_j), P_i the softmax over images of class i's logits."""
    log_p = [log_softmax(logits[:, i], temperature) for i in range(CLASSES)]
    return np.array([[sum(exp(a) * (a - b) for a, b in zip(p, q)) for q in log_p] for p in log_p])


@MIXES
@pytest.mark.parametrize(
    "adaptive, epoch, share", [(True, 0, 0.2), (True, 3, 0.8), (False, 1, None)]
)
def test_icsd(model, batch, teacher, mix, adaptive, epoch, share):
    method = ICSD(model, teacher=teacher, temperature=2.0, alpha=0.5, beta=0.3, adaptive=adaptive)
    batch = batch._replace(mix=mix)
    losses = {name: loss.item() for name, loss in method(batch, at(5, epoch)).items()}
    ours, theirs = (1, 1) if share is None else (share, 1 - share)
    logits, target = array(model(inputs(batch))), array(teacher(inputs(batch)))
    gap = similarities(logits, 2.0) - similarities(target, 2.0)
    assert (gap**2).sum() > 0.1
    expected = {
        "ce": ours * cross_entropy(logits, soft_labels(batch)),
        "kd": theirs * 0.5 * kl(logits, target, 2.0),
        "similarity": theirs * 0.3 * sum(x * x for x in gap.ravel()) / CLASSES**2,
    }
    assert losses == pytest.approx(expected, rel=1e-4)


def turned(batch: Batch) -> torch.Tensor:
    """Each image, mixed where it is, and its three turns, counter-clockwise."""
    rows = [np.rot90(image, r, (1, 2)) for image in array(inputs(batch)) for r in range(4)]
    return torch.from_numpy(np.stack(rows)).float()


def read_head(head: nn.Sequential, embedding: torch.Tensor) -> Array:
    rows = []
    for row in array(embedding):
        hidden = array(head[0].weight) @ row + array(head[0].bias)
        hidden = np.array([max(0.0, h) for h in hidden])
        rows.append(array(head[2].weight) @ hidden + array(head[2].bias))
    return unit(np.stack(rows))


def matrix(rows: Array) -> Array:
    """Cosines of the 3B turned rows with the B upright ones; a row of four starts with the upright."""
    return np.array(
        [
            [rows[4 * b + r] @ rows[4 * c] for c in range(ROWS)]
            for b in range(ROWS)
            for r in (1, 2, 3)
        ]
    )


ORIGINS = [b for b in range(ROWS) for _ in range(3)]


@MIXES
@pytest.mark.parametrize("frozen", [True, False])
def test_sskd_teacher(model, batch, mix, frozen):
    method, batch = SSKDTeacher(model, frozen=frozen), batch._replace(mix=mix)
    losses = {name: loss.item() for name, loss in method(batch, at(0)).items()}
    trace = model.trace(turned(batch))
    cosines, label = matrix(read_head(method.head, trace.embedding)), np.eye(ROWS)[ORIGINS]
    expected = {"match": cross_entropy(cosines, label)}
    if not frozen:
        expected["ce"] = cross_entropy(array(trace.logits)[::4], soft_labels(batch))
    assert losses == pytest.approx(expected, rel=1e-5)


def test_sskd_teacher_keeps_the_network_as_it_is(model, batch):
    method = SSKDTeacher(model, frozen=True).train()
    before = deepcopy(model.state_dict())
    total(method(batch, at(0)).values()).backward()
    assert {n for n, p in method.named_parameters() if p.grad is not None} == {
        f"head.{layer}.{name}" for layer in (0, 2) for name in ("weight", "bias")
    }
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def chosen(scores: Array, right: list[int], share: float) -> list[int]:
    """The rows that put the right column first, and that share of the others that do so least badly."""
    places = [sum(score > row[y] for score in row) for row, y in zip(scores, right)]
    order = sorted(range(len(right)), key=lambda row: (places[row], row))
    wrong = sum(place > 0 for place in places)
    assert 1 < wrong < len(right)
    return order[: len(right) - wrong + int(share * wrong)]


@MIXES
@pytest.mark.parametrize("turned_share, match_share", [(1.0, 0.75), (0.4, 0.0)])
def test_sskd(model, batch, teacher, mix, turned_share, match_share):
    method = SSKD(
        model.eval(),
        teacher=SSKDTeacher(teacher),
        turned_share=turned_share,
        match_share=match_share,
    )
    batch = batch._replace(mix=mix)
    with torch.no_grad():  # predictions and cosines that differ, some right and some wrong
        draw = torch.Generator().manual_seed(3)
        for parameter in teacher.net.get_classifier().parameters():
            parameter.copy_(8 * torch.randn(parameter.shape, generator=draw))
        heads = ((method.head, model), (method.teacher_head.net, teacher))
        for (first, _, last), network in heads:
            embedding = network.trace(turned(batch)).embedding
            first.weight.copy_(torch.randn(first.weight.shape, generator=draw))
            first.bias.copy_(-first.weight @ embedding.mean(0))
            last.bias.zero_()
    losses = {name: loss.item() for name, loss in method(batch, at(0)).items()}
    trace, target = model.trace(turned(batch)), teacher.trace(turned(batch))
    logits, wanted, label = array(trace.logits), array(target.logits), soft_labels(batch)
    turns = [4 * b + r for b in range(ROWS) for r in (1, 2, 3)]
    classes = [int(label[b].argmax()) for b in ORIGINS]
    clear = chosen(wanted[turns], classes, turned_share)
    cosines = matrix(read_head(method.head, trace.embedding))
    wanted_cosines = matrix(read_head(method.teacher_head.net, target.embedding))
    matched = chosen(wanted_cosines, ORIGINS, match_share)
    expected = {
        "ce": 0.1 * cross_entropy(logits[::4], label),
        "kd": 0.9 * kl(logits[::4], wanted[::4], 4.0),
        "turned": 2.7 * kl(logits[turns][clear], wanted[turns][clear], 4.0),
        "match": 10 * kl(cosines[matched], wanted_cosines[matched], 0.5),
    }
    assert min(expected.values()) > 1e-3
    assert losses == pytest.approx(expected, rel=1e-4)


def test_sskd_has_the_settings_of_its_code(model, teacher):
    method = SSKD(model, teacher=SSKDTeacher(teacher))
    assert (method.ce, method.kd, method.turned, method.match) == (0.1, 0.9, 2.7, 10.0)
    assert (method.temperature, method.match_temperature) == (4.0, 0.5)
    assert (method.turned_share, method.match_share) == (1.0, 0.75)
