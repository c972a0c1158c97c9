"""Methods that compare images refuse a batch of too few, which would teach nothing unseen."""

from typing import get_type_hints

import pytest
import torch
from test_values import CLASSES, SIZE

from cohobate.core import Batch, Method, Progress
from cohobate.methods import METHODS
from cohobate.models import Classifier
from cohobate.train import check_batch_size

COMPARING = {name: kind for name, kind in METHODS.items() if kind.min_batch_size > 1}


def built(kind: type[Method]) -> Method:
    torch.manual_seed(0)
    hints, given = get_type_hints(kind.__init__), {}
    if wanted := hints.get("teacher"):
        teacher = Classifier("cifar_resnet14", CLASSES)
        given["teacher"] = teacher if wanted is Classifier else wanted(teacher)
    return kind(Classifier("cifar_resnet8", CLASSES), **given)


@pytest.mark.parametrize("name", COMPARING)
def test_of_one_image_less_a_term_says_nothing(name):
    method, least = built(COMPARING[name]), COMPARING[name].min_batch_size
    images = torch.rand(least, 3, SIZE, SIZE)
    batch = Batch(images, torch.arange(least), torch.arange(least))
    now = Progress(torch.tensor(1), 4, torch.tensor(3), 12)
    assert all(abs(loss.item()) > 1e-9 for loss in method(batch, now).values())
    fewer = Batch(*(part[: least - 1] for part in batch[:3]))
    try:
        losses = method(fewer, now)
    except ValueError as error:  # of batch norm
        assert "more than 1 value" in str(error)
    else:
        assert any(abs(loss.item()) < 1e-9 for loss in losses.values())


def test_the_command_line_refuses_it(smoke, tmp_path):
    settings = ("method.name=sskd_teacher", "data.per_class=2", "data.batch_size=1")
    ran = smoke(tmp_path / "run", *settings)
    assert ran.code == 2
    assert ran.err.endswith(
        "data.batch_size=1: method 'sskd_teacher' needs 2 images or more in each batch; choose"
        " data.batch_size=2 or more\n"
    )
    assert not (tmp_path / "run" / "config.toml").exists()


def test_of_several_processes_each_needs_them():
    sentence = (
        "data.batch_size=4 among 2 processes: method 'rkd' needs 3 images or more in the batch of"
        " each; choose data.batch_size=6 or more"
    )
    with pytest.raises(ValueError, match=sentence):
        check_batch_size("rkd", 3, 4, 2)
    check_batch_size("rkd", 3, 6, 2)
    check_batch_size("rkd", 3, 3, 1)
