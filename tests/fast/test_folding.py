"""Teachers without batch norms say what they said before."""

import pytest
import torch
from torch import nn

from cohobate import fast
from cohobate.core import Progress
from cohobate.cost import example
from cohobate.losses import total
from cohobate.methods import METHODS
from cohobate.models import Classifier

CLASSES, SIZE = 5, 32


def used(arch: str) -> Classifier:
    """A network whose running statistics are no longer those of a new one."""
    network = Classifier(arch, CLASSES, size=SIZE)
    with torch.no_grad():
        network.train()(torch.rand(16, 3, SIZE, SIZE))
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.5, 0.5)
    return network


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@pytest.mark.parametrize(
    "arch, left",
    [
        ("cifar_resnet8", 0),
        ("cifar_wrn_16_2", 6),  # all but the first of those that come before a convolution
        ("resnet18", 0),
        ("mobilenetv3_small_050", 0),
        ("densenet121", 62),
    ],
)
def test_a_teacher_says_the_same(arch, left):
    torch.manual_seed(0)
    teacher = used(arch)
    method = METHODS["kd"](Classifier("cifar_resnet8", CLASSES), teacher=teacher)
    images = torch.rand(4, 3, SIZE, SIZE)
    before, student = method.teacher(images), norms(method.model)
    assert fast.fold(method, example(method, SIZE, 2, "cpu")) > 0
    assert norms(method.teacher) == left
    assert norms(method.model) == student
    torch.testing.assert_close(method.teacher(images), before, rtol=1e-3, atol=1e-3)
    method.train()
    total(method(example(method, SIZE, 2, "cpu"), Progress(0, 1, 0, 1)).values()).backward()
    assert all(p.grad is None for p in method.teacher.parameters())


def test_heads_of_a_teacher_are_folded_too():
    torch.manual_seed(0)
    teacher = METHODS["hsakd_teacher"](used("cifar_resnet8"))
    method = METHODS["hsakd"](Classifier("cifar_resnet8", CLASSES), teacher=teacher).eval()
    batch = example(method, SIZE, 2, "cpu")
    before = method(batch, Progress(0, 1, 0, 1))
    fast.fold(method, batch)
    assert norms(method.teacher) == norms(method.teacher_heads) == 0
    after = method(batch, Progress(0, 1, 0, 1))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_a_method_without_a_frozen_network_stays_as_it_is():
    method = METHODS["mixskd"](Classifier("cifar_resnet8", CLASSES))
    before = norms(method)
    assert fast.fold(method, example(method, SIZE, 2, "cpu")) == 0
    assert norms(method) == before


def test_what_a_fold_would_change_is_not_folded():
    """A convolution that is also read elsewhere must keep its own output."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, CLASSES, 3), nn.BatchNorm2d(CLASSES)

        def forward(self, images):
            maps = self.conv(images)
            return (maps + 3 * self.norm(maps)).mean((2, 3))

    torch.manual_seed(0)
    teacher = Both()
    nn.init.uniform_(teacher.norm.weight, 2, 3)
    method = METHODS["kd"](Classifier("cifar_resnet8", CLASSES), teacher=teacher)
    assert fast.fold(method, example(method, SIZE, 2, "cpu")) == 0
    assert norms(method.teacher) == 1
