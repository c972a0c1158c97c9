"""What a method is said to cost: ratios that follow from what it computes."""

import pytest
import torch

from cohobate import Classifier
from cohobate.core import Method
from cohobate.cost import cost, held_bytes, too_large
from cohobate.methods.cutmix import CutMix
from cohobate.methods.kd import KD
from cohobate.methods.sla import SLA
from cohobate.methods.supervised import Supervised


def network(arch: str = "cifar_resnet8") -> Classifier:
    return Classifier(arch, 10)


def of(method: Method, size: int = 32) -> dict[str, int]:
    return cost(method, size)


def test_multiply_adds_and_parameters():
    plain, large = of(Supervised(network())), of(Supervised(network("cifar_resnet20")))
    assert plain["macs"] == plain["training_macs"]
    kd = of(KD(network(), teacher=network("cifar_resnet20")))
    assert kd["macs"] == plain["macs"]
    assert kd["training_macs"] == plain["macs"] + large["macs"]
    assert kd["trained_parameters"] == plain["parameters"]


def test_a_frozen_teacher_keeps_nothing_for_the_backward_pass():
    plain = of(Supervised(network()))["training_bytes"]
    kd = of(KD(network(), teacher=network("cifar_resnet20")))["training_bytes"]
    assert kd == pytest.approx(plain, rel=0.01)


def test_four_rotations_keep_four_times_as_much():
    plain, four = of(Supervised(network())), of(SLA(network()))
    assert four["training_macs"] == pytest.approx(4 * plain["training_macs"], rel=0.001)
    assert four["training_bytes"] == pytest.approx(4 * plain["training_bytes"], rel=0.01)


def test_bytes_follow_the_pixels_and_not_the_weights():
    small, large = (of(Supervised(network()), size)["training_bytes"] for size in (32, 64))
    assert large == pytest.approx(4 * small, rel=0.01)
    wide = Classifier("cifar_resnet8", 5000)  # a classifier of 320,000 weights more
    assert of(Supervised(wide))["training_bytes"] < small + 200_000


def test_bytes_are_those_that_a_real_step_keeps():
    """The same sum over the tensors of a step that is really computed."""
    method, kept = Supervised(network()), {}
    own = {p.untyped_storage().data_ptr() for p in (*method.parameters(), *method.buffers())}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor
        return tensor

    images, targets = torch.rand(4, 3, 32, 32), torch.arange(4)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(method.model(images), targets)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert loss.requires_grad
    assert of(method)["training_bytes"] == pytest.approx(total / 4, rel=0.02)


def test_mixing_costs_no_multiply_adds():
    assert of(CutMix(network()))["training_macs"] == of(Supervised(network()))["training_macs"]


def test_a_step_far_too_large_is_told_and_one_that_may_fit_is_not():
    method = Supervised(network())
    held = held_bytes(method, of(method), 8)
    assert not too_large(held, 8, 1, free=held // 2 + 1)
    told = too_large(held, 8, 1, free=held // 2 - 1)
    assert told.startswith("a step of 8 images would hold about 0.0 GB")
    assert too_large(held, 8, 4, free=held).startswith("a step of 32 images")


def test_a_step_counts_what_lies_behind_it_and_what_the_teacher_does():
    """Two products of the same size for each one forward, but for the first layer: images learn not."""
    plain = of(Supervised(network()))
    first = 32 * 32 * 9 * 3 * 16
    assert plain["step_macs"] == plain["supervised_macs"] == 3 * plain["macs"] - first
    kd = of(KD(network(), teacher=network("cifar_resnet20")))
    assert kd["supervised_macs"] == plain["step_macs"]
    assert kd["step_macs"] == plain["step_macs"] + kd["training_macs"] - plain["macs"]
