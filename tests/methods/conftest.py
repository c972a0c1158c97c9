"""The network and the batch that the value tests share."""

import pytest
import torch
from test_values import CLASSES, ROWS, SIZE

from cohobate.core import Batch
from cohobate.models import Classifier


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier("cifar_resnet8", CLASSES)


@pytest.fixture
def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 3, SIZE, SIZE, generator=draw)
    return Batch(images, torch.tensor([0, 3, 1, 3]), torch.arange(ROWS))
