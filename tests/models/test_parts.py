"""Networks as parts: applied one after the other they are the network, with its own weights."""

import pytest
import torch

from cohobate.models import Classifier
from cohobate.models.parts import apply, parts

CHAINS = ["cifar_resnet8", "cifar_wrn_16_2", "cifar_mobilenetv2", "cifar_vgg8"]
CHAINS += [
    "resnet18",
    "convnext_atto",
    "densenet121",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "repvgg_a0",
]


def applied(model: Classifier, images: torch.Tensor) -> torch.Tensor:
    values = model.normalise(images)
    for names in parts(model):
        values = apply(model.net, names, values)
    return model.net.forward_head(values)


@pytest.mark.parametrize("arch", CHAINS)
def test_parts_one_after_the_other_are_the_network(arch):
    torch.manual_seed(0)
    model = Classifier(arch, 5, size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(applied(model, images), model(images))
    found = parts(model)
    assert len(found) == len(model.stages) + 1
    assert [names[-1] for names in found[:-1]] == [stage.module for stage in model.stages]


def test_parts_train_the_weights_of_the_network():
    model = Classifier("cifar_resnet8", 5)
    applied(model, torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.net.parameters())


def test_parts_are_found_without_values():
    with torch.device("meta"):
        ghost = Classifier("cifar_wrn_16_2", 5)
    assert parts(ghost) == parts(Classifier("cifar_wrn_16_2", 5))
    assert parts(ghost)[-1] == ("final",)


def test_a_network_that_is_no_chain_is_named():
    arch = "vit_tiny_patch16_224"  # the position is added between the first two of its modules
    with pytest.raises(ValueError, match=f"'{arch}' is no chain of stages.*: choose one that is"):
        parts(Classifier(arch, 5))
