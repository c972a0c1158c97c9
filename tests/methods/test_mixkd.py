"""MIX-KD: rescaled logits on mixtures against the formula in float64, and how few are mixed."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from cohobate.core import Batch, Progress
from cohobate.losses import total
from cohobate.methods.mixkd import MIXKD
from cohobate.models import Classifier

CLASSES, SIZE, ROWS = 5, 32, 10
NOW = Progress(torch.tensor(0), 1, torch.tensor(0), 1)


def array(value: torch.Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def over_deviation(logits: np.ndarray) -> np.ndarray:
    """z_b / std_C(z_b), with C - 1 in the deviation."""
    rows = []
    for row in logits:
        mean = sum(row) / len(row)
        rows.append(row / (sum((z - mean) ** 2 for z in row) / (len(row) - 1)) ** 0.5)
    return np.stack(rows)


def cross_entropy(logits: np.ndarray, label: np.ndarray) -> float:
    return float(-(label * log_softmax(logits, 1)).sum(1).mean())


def kl(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    s, t = log_softmax(student / temperature, 1), log_softmax(teacher / temperature, 1)
    return temperature**2 * float((np.exp(t) * (t - s)).sum(1).mean())


@pytest.fixture
def teacher() -> Classifier:
    torch.manual_seed(1)
    network = Classifier("cifar_resnet8", CLASSES, mean=(0.1, 0.2, 0.3))
    with torch.no_grad():
        network.net.get_classifier().weight.mul_(20)  # sure of itself
    return network


@pytest.fixture
def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, SIZE, SIZE, generator=draw)
    return Batch(images, torch.arange(ROWS) % CLASSES, torch.arange(ROWS))


def seen(batch: Batch) -> tuple[torch.Tensor, np.ndarray]:
    """The images that both networks see, and their labels, from the mixture row by row."""
    images, label = array(batch.images), np.eye(CLASSES)[batch.targets.numpy()]
    mix = batch.mix
    assert mix is not None
    blended = np.empty_like(images)
    soft = np.empty_like(label)
    for b, (partner, weight) in enumerate(zip(mix.partner.tolist(), mix.weight.tolist())):
        keep = weight if mix.mask is None else array(mix.mask[b])
        blended[b] = keep * images[b] + (1 - keep) * images[partner]
        soft[b] = weight * label[b] + (1 - weight) * label[partner]
    return torch.from_numpy(blended).float(), soft


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
@pytest.mark.parametrize(
    "standardise, temperature", [("both", 1.0), ("kl", 1.0), ("kl", 2.0), ("none", 4.0)]
)
def test_value(model, teacher, batch, mixing, standardise, temperature):
    method = MIXKD(
        model,
        teacher=teacher,
        mixing=mixing,
        share=0.5,
        standardise=standardise,
        temperature=temperature,
        gamma=0.3,
        alpha=2.0,
    )
    mixed = method.mixed(batch, torch.Generator().manual_seed(3))
    images, label = seen(mixed)
    student, target = array(model(images)), array(teacher(images))
    scaled = over_deviation(student)
    ce = cross_entropy(scaled if standardise == "both" else student, label)
    pair = (student, target) if standardise == "none" else (scaled, over_deviation(target))
    losses = method(mixed, NOW)
    assert losses.keys() == {"ce", "kd"}
    assert losses["ce"].item() == pytest.approx(0.3 * ce, rel=1e-4)
    assert losses["kd"].item() == pytest.approx(2.0 * kl(*pair, temperature), rel=1e-3)


def test_defaults_are_those_of_the_paper(model, teacher, batch):
    method = MIXKD(model, teacher=teacher)
    assert (method.temperature, method.gamma, method.alpha) == (1.0, 0.1, 0.9)
    mix = method.mixed(batch).mix
    assert mix is not None
    assert int((mix.weight < 1).sum()) == 1  # of 10 rows


def test_no_mixing_is_plain_distillation(model, teacher, batch):
    method = MIXKD(model, teacher=teacher, mixing="none", standardise="none", temperature=4.0)
    assert method.mixed(batch).mix is None
    losses = method(batch, NOW)
    student, target = array(model(batch.images)), array(teacher(batch.images))
    assert losses["kd"].item() == pytest.approx(0.9 * kl(student, target, 4.0), rel=1e-3)
    label = np.eye(CLASSES)[batch.targets.numpy()]
    assert losses["ce"].item() == pytest.approx(0.1 * cross_entropy(student, label), rel=1e-4)


@pytest.mark.parametrize("share, mixed", [(0.0, 0), (0.1, 1), (0.5, 5), (1.0, 10)])
@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_share_of_the_mixtures(model, teacher, mixing, share, mixed):
    method = MIXKD(model, teacher=teacher, mixing=mixing, beta=50.0, share=share)
    assert method.mix is not None
    mix = method.mix.draw(torch.zeros(ROWS, 3, SIZE, SIZE))
    assert int((mix.weight < 1).sum()) == mixed


def test_gradient_of_rescaled_logits_is_orthogonal_to_them(model, teacher, batch):
    """The loss does not change with the norm of the student's logits."""
    method = MIXKD(model, teacher=teacher)
    logits: list[torch.Tensor] = []

    def keep(module, arguments, output):
        logits.append(output)
        output.retain_grad()

    model.register_forward_hook(keep)
    total(method(method.mixed(batch), NOW).values()).backward()
    slope, value = array(logits[0].grad), array(logits[0])  # pyright: ignore[reportArgumentType]
    sizes = np.linalg.norm(slope, axis=1) * np.linalg.norm(value, axis=1)
    assert (sizes > 1e-6).all()
    assert (np.abs((slope * value).sum(1)) < 1e-3 * sizes).all()


@pytest.mark.parametrize("classes, floor", [(100, 0.0045), (40, 0.068), (10, 0.32)])
def test_floor_that_the_docstring_gives(classes, floor):
    """A right answer of any certainty: rescaling takes the certainty away."""
    logits = np.zeros((1, classes))
    logits[0, 0] = 1e6
    scaled = over_deviation(logits)
    assert cross_entropy(scaled, np.eye(classes)[:1]) == pytest.approx(floor, rel=0.02)


@pytest.mark.parametrize("classes, told", [(10, True), (100, False)])
def test_few_classes_are_told_of_the_floor(classes, told):
    make = [Classifier("cifar_resnet8", classes) for _ in range(2)]
    method = MIXKD(make[0], teacher=make[1])
    assert ("cannot fall below 0.32" in getattr(method, "note", "")) is told
    assert not hasattr(MIXKD(make[0], teacher=make[1], standardise="kl"), "note")
