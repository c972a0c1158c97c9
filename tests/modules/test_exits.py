"""Auxiliary classifiers: copies of the remaining stages where there is a chain, else branches."""

import pytest
import torch
from torch import nn

from cohobate.losses import total
from cohobate.models import Classifier, Stage, Tail
from cohobate.modules import Branch, Exits

CHAINS = {
    "cifar_resnet8": 32,
    "cifar_preact_resnet18": 32,
    "cifar_wrn_16_1": 32,
    "cifar_vgg8": 32,
    "cifar_mobilenetv2": 32,
    "cifar_shufflenetv2": 32,
    "resnet10t": 64,
    "convnext_atto": 64,
    "regnetx_002": 64,
    "efficientnet_b0": 64,
}
OTHERS = {"test_vit": 64, "swin_tiny_patch4_window7_224": 64}
OPTIONS = {"swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (1, 1, 2, 1)}}


def network(name: str) -> Classifier:
    torch.manual_seed(0)
    size = (CHAINS | OTHERS)[name]
    return Classifier(name, 5, size=size, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", CHAINS | OTHERS)
def test_every_stage_but_the_last_ends_like_the_network(name):
    model = network(name)
    exits = Exits(model)
    kind, words = (
        (Tail, "copies of the remaining stages") if name in CHAINS else (Branch, "generic")
    )
    assert [type(part) for part in exits.parts] == [kind] * (len(model.stages) - 1)
    assert exits.note.startswith(f"{len(model.stages) - 1} auxiliary branches: {words}")
    trace = model.trace(torch.rand(2, 3, model.size, model.size))
    logits, maps = exits([stage.detach() for stage in trace.stages])
    assert [tuple(z.shape) for z in logits] == [(2, 5)] * len(exits.parts)
    assert [f.shape for f in maps] == [trace.stages[-1].shape] * len(exits.parts)
    total(z.sum() + f.square().sum() for z, f in zip(logits, maps)).backward()
    assert [key for key, p in exits.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["cifar_resnet8", "test_vit"])
def test_branches_teach_the_backbone(name):
    model = network(name)
    exits = Exits(model)
    trace = model.trace(torch.rand(2, 3, model.size, model.size))
    logits, _ = exits(trace.stages)
    gradients = torch.autograd.grad(logits[0].square().sum(), trace.stages, allow_unused=True)
    assert gradients[0].any()
    assert gradients[-1] is None  # the last map only lends its shape


def test_branches_share_no_weights():
    model = network("cifar_resnet8")
    exits = Exits(model)
    pointers = [p.data_ptr() for p in (*model.parameters(), *exits.parameters())]
    assert len(set(pointers)) == len(pointers)
    heads = [part.net.get_classifier().weight for part in exits.parts]
    assert not torch.equal(heads[0], heads[1])


def test_a_network_of_one_stage_is_refused():
    model = network("cifar_resnet8")
    model.stages = model.stages[-1:]
    with pytest.raises(
        ValueError, match=r"'cifar_resnet8' has 1 stage that.*`cohobate models NAME`"
    ):
        Exits(model)


@pytest.mark.parametrize(
    "source, last, factor, convolutions",
    [
        ((8, 4), (32, 32), 8, 3),  # one for each halving
        ((8, 16), (32, 32), 2, 1),
        ((8, 16), (12, 16), 1, 1),  # of one resolution: one, which does not halve
        ((16, 7), (64, 14), 2, 1),
    ],
)
def test_generic_branch_halves_as_often_as_the_network(source, last, factor, convolutions):
    branch = Branch(Stage(0, "", *source), Stage(1, "", *last), num_classes=5).eval()
    assert sum(isinstance(m, nn.BatchNorm2d) for m in branch.modules()) == convolutions
    features, expected = torch.rand(2, source[0], 8, 8), (2, last[0], 8 // factor, 8 // factor)
    trace = branch.trace(features, torch.zeros(expected))
    assert trace.stages[0].shape == expected
    assert torch.equal(trace.stages[0], branch.layers(features))  # and is not resized
    torch.testing.assert_close(trace.embedding, trace.stages[0].mean((2, 3)))
    torch.testing.assert_close(trace.logits, branch.classifier(trace.embedding))


@pytest.mark.parametrize("size", [3, 7])
def test_generic_branch_takes_the_size_of_the_last_map(size):
    branch = Branch(Stage(0, "", 8, 4), Stage(1, "", 16, 8), num_classes=5)
    trace = branch.trace(torch.rand(2, 8, 9, 9), torch.zeros(2, 16, size, size))
    assert trace.stages[0].shape == (2, 16, size, size)
