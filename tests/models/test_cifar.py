"""The networks of the CIFAR literature: their sizes, their taps, and timm's interface."""

import math
import pickle
from copy import deepcopy
from functools import cache

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import cohobate.models.cifar  # noqa: F401 - registers the networks

# Millions of parameters at 100 classes, as measured on the released definitions.
PARAMETERS = {
    "cifar_resnet8": 0.084,
    "cifar_resnet14": 0.181,
    "cifar_resnet20": 0.278,
    "cifar_resnet32": 0.473,
    "cifar_resnet44": 0.667,
    "cifar_resnet56": 0.862,
    "cifar_resnet110": 1.737,
    "cifar_resnet8x4": 1.234,
    "cifar_resnet32x4": 7.434,
    "cifar_resnet18": 11.220,
    "cifar_resnet50": 23.705,
    "cifar_preact_resnet18": 11.217,
    "cifar_wrn_16_1": 0.181,
    "cifar_wrn_16_2": 0.703,
    "cifar_wrn_40_1": 0.570,
    "cifar_wrn_40_2": 2.255,
    "cifar_vgg8": 3.965,
    "cifar_vgg11": 9.277,
    "cifar_vgg13": 9.462,
    "cifar_vgg16": 14.774,
    "cifar_vgg19": 20.087,
    "cifar_mobilenetv2": 0.813,
    "cifar_mobilenetv2_hsakd": 0.813,
    "cifar_shufflenetv1": 0.949,
    "cifar_shufflenetv2": 1.356,
}
# The others, as they stand here: no number of theirs is published for 100 classes.
OURS = {
    "cifar_resnet34": 21.328,
    "cifar_preact_resnet34": 21.326,
    "cifar_preact_resnet50": 23.694,
    "cifar_wrn_28_10": 36.537,
}
# Millions of parameters and billions of multiply-adds in HSAKD's tables.
HSAKD = {
    "cifar_wrn_40_2": (2.26, 0.328),
    "cifar_wrn_16_2": (0.70, 0.101),
    "cifar_wrn_40_1": (0.57, 0.083),
    "cifar_resnet56": (0.86, 0.126),
    "cifar_resnet20": (0.28, 0.041),
    "cifar_resnet32x4": (7.43, 1.083),
    "cifar_resnet8x4": (1.23, 0.177),
    "cifar_vgg13": (9.46, 0.285),
    "cifar_resnet50": (23.71, 1.298),
    "cifar_mobilenetv2_hsakd": (0.81, 0.026),
    "cifar_shufflenetv1": (0.95, 0.039),
    "cifar_shufflenetv2": (1.36, 0.045),
}
NAMES = sorted(PARAMETERS | OURS)
RECTIFIED = [
    "cifar_resnet8",
    "cifar_resnet50",
    "cifar_vgg8",
    "cifar_shufflenetv1",
    "cifar_shufflenetv2",
]
RAW = [
    "cifar_preact_resnet18",
    "cifar_preact_resnet50",
    "cifar_wrn_16_1",
    "cifar_mobilenetv2",
    "cifar_mobilenetv2_hsakd",
]
FAMILIES = RECTIFIED + RAW
SMALLEST = [name for name in FAMILIES if "resnet50" not in name and "hsakd" not in name]


def sketch(name, **options):
    """The network without storage: shapes and counts cost nothing."""
    with torch.device("meta"):
        return timm.create_model(name, **options).eval()


def millions(net):
    return sum(p.numel() for p in net.parameters()) / 1e6


@torch.no_grad()
def multiply_adds(net, images):
    with FlopCounterMode(display=False) as counter:
        net(images)
    return counter.get_total_flops() / 2e9


@cache
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@cache
def trained(name):
    """The network in eval mode, with BN statistics that are not the initial ones. Not to be changed."""
    torch.manual_seed(0)
    net = timm.create_model(name)
    with torch.no_grad():
        net(images())
    return net.eval()


def blanked(net, module):
    """`net` with the identity in place of all children up to `module`."""
    net = deepcopy(net)
    for name, _ in list(net.named_children()):
        setattr(net, name, nn.Identity())
        if name == module:
            return net
    raise AssertionError(module)


def test_the_registered_names():
    assert set(timm.list_models("cifar_*")) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    assert round(millions(sketch(name)), 3) == (PARAMETERS | OURS)[name]


@pytest.mark.parametrize("name", HSAKD)
def test_parameters_and_multiply_adds_of_hsakd(name):
    net = sketch(name, num_classes=100)
    parameters, operations = HSAKD[name]
    assert round(millions(net), 2) == parameters
    assert round(multiply_adds(net, torch.zeros(1, 3, 32, 32, device="meta")), 3) == operations


def test_parameters_of_wrn_28_10_in_its_paper():
    assert round(millions(sketch("cifar_wrn_28_10", num_classes=10)), 1) == 36.5


@pytest.mark.parametrize("name", ["cifar_resnet18", "cifar_preact_resnet18"])
def test_multiply_adds_of_resnet18(name):
    assert round(multiply_adds(sketch(name), torch.zeros(1, 3, 32, 32, device="meta")), 3) == 0.555


def test_tails_of_resnet18_have_the_size_of_mixskd_branches():
    net = sketch("cifar_resnet18")
    x = torch.zeros(1, 3, 32, 32, device="meta")
    with torch.no_grad():
        maps = net.forward_intermediates(x, intermediates_only=True)
    tails = [blanked(net, info["module"]) for info in net.feature_info[:3]]
    cost = sum(multiply_adds(tail, tap) for tail, tap in zip(tails, maps))
    assert round(sum(map(millions, tails)), 3) == 30.060
    assert round(multiply_adds(net, x) + cost, 3) == 1.361


@pytest.mark.parametrize(
    ("name", "size"), [(name, 32) for name in NAMES] + [(name, 64) for name in SMALLEST]
)
def test_feature_info_describes_the_maps(name, size):
    net = sketch(name)
    x = torch.zeros(2, 3, size, size, device="meta")
    maps = net.forward_intermediates(x, intermediates_only=True)
    four = any(part in name for part in ("vgg", "mobilenet", "resnet18", "resnet34", "resnet50"))
    assert len(maps) == len(net.feature_info) == (4 if four else 3)
    for info, tap in zip(net.feature_info, maps):
        side = size // info["reduction"]
        if "vgg" in name and info["module"] == "layer4":
            side = 4  # one more pooling lies in the last stage at 64 px
        assert tap.shape == (2, info["num_chs"], side, side)
    features = net.forward_features(x)
    assert features.shape[:2] == (2, net.num_features)
    assert net.forward_head(features, pre_logits=True).shape == (2, net.num_features)
    assert net(x).shape == (2, 100)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("cifar_resnet20", [1, 2, 4]),
        ("cifar_wrn_40_2", [1, 2, 4]),
        ("cifar_resnet18", [1, 2, 4, 8]),
        ("cifar_preact_resnet18", [1, 2, 4, 8]),
        ("cifar_vgg13", [1, 2, 4, 8]),
        ("cifar_mobilenetv2", [2, 4, 8, 16]),
        ("cifar_mobilenetv2_hsakd", [1, 2, 4, 8]),
        ("cifar_shufflenetv1", [2, 4, 8]),
        ("cifar_shufflenetv2", [2, 4, 8]),
    ],
)
def test_strides_are_those_of_the_small_stem(name, strides):
    assert [info["reduction"] for info in sketch(name).feature_info] == strides


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_intermediates_lead_to_the_same_logits(name):
    net = trained(name)
    logits = net(images())
    features, maps = net.forward_intermediates(images())
    torch.testing.assert_close(net.forward_head(features), logits, rtol=0, atol=0)
    embedding = net.forward_head(features, pre_logits=True)
    torch.testing.assert_close(net.get_classifier()(embedding), logits, rtol=0, atol=0)
    some = net.forward_intermediates(images(), [0, -1], intermediates_only=True)
    assert len(some) == 2
    torch.testing.assert_close(some, [maps[0], maps[-1]], rtol=0, atol=0)
    final, first = net.forward_intermediates(images(), [0], stop_early=True)
    torch.testing.assert_close([final, *first], [maps[0], maps[0]], rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_children_are_a_chain(name):
    net = trained(name)
    *chain, (last, _) = net.named_children()
    x = images()
    for _, module in chain:
        x = module(x)
    assert last == "head"
    torch.testing.assert_close(x, net.forward_features(images()), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_the_rest_of_the_chain_takes_a_tap_to_the_logits(name):
    net = trained(name)
    logits = net(images())
    _, maps = net.forward_intermediates(images())
    fresh = timm.create_model(name).eval()
    fresh.load_state_dict(net.state_dict())
    for info, tap in zip(net.feature_info, maps):
        rest = blanked(fresh, info["module"])
        torch.testing.assert_close(rest(tap), logits, rtol=0, atol=0)
        features, later = rest.forward_intermediates(tap)
        torch.testing.assert_close(rest.forward_head(features), logits, rtol=0, atol=0)
        torch.testing.assert_close(later[-1], maps[-1], rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_taps_before_the_activation(name):
    net = trained(name)
    features, maps = net.forward_intermediates(images())
    same, before = net.forward_intermediates(images(), pre_activation=True)
    torch.testing.assert_close(same, features, rtol=0, atol=0)
    assert len(before) == len(maps)
    for tap, raw in zip(maps, before):
        assert raw.min() < 0
        expected = F.relu(raw) if name in RECTIFIED else raw
        torch.testing.assert_close(tap, expected, rtol=0, atol=0)


@torch.no_grad()
def test_norm_applies_to_the_last_map_of_a_wide_residual_network():
    net = trained("cifar_wrn_16_1")
    features, maps = net.forward_intermediates(images(), norm=True)
    raw = net.forward_intermediates(images(), intermediates_only=True)
    torch.testing.assert_close(maps[-1], features, rtol=0, atol=0)
    torch.testing.assert_close(maps[:-1], raw[:-1], rtol=0, atol=0)
    assert not torch.equal(maps[-1], raw[-1])
    first = net.forward_intermediates(images(), [0], norm=True, intermediates_only=True)
    torch.testing.assert_close(first, raw[:1], rtol=0, atol=0)


@torch.no_grad()
def test_what_the_head_pools():
    assert trained("cifar_preact_resnet18").forward_features(images()).min() < 0
    assert trained("cifar_wrn_16_1").forward_features(images()).min() == 0


@torch.no_grad()
def test_stem_of_resnet_without_activation():
    plain = timm.create_model("cifar_resnet18").eval()
    released = timm.create_model("cifar_resnet18", stem_act=False).eval()
    released.load_state_dict(plain.state_dict())
    assert plain.stem(images()).min() == 0
    assert released.stem(images()).min() < 0
    torch.testing.assert_close(F.relu(released.stem(images())), plain.stem(images()))


@pytest.mark.parametrize("name", SMALLEST)
def test_every_parameter_gets_a_gradient(name):
    net = timm.create_model(name)
    F.cross_entropy(net(images()), torch.arange(2)).backward()
    assert [key for key, p in net.named_parameters() if p.grad is None] == []


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_state_and_copies(name):
    net = trained(name)
    logits = net(images())
    twin = timm.create_model(name).eval()
    assert not torch.allclose(twin(images()), logits)
    twin.load_state_dict(net.state_dict(), strict=True)
    for copy in (twin, deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(copy(images()), logits, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALLEST)
def test_channels_last(name):
    net = deepcopy(trained(name)).to(memory_format=torch.channels_last)
    logits = net(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, trained(name)(images()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALLEST)
def test_compiles_to_one_graph(name):
    net = deepcopy(trained(name)).train()

    def run(x):
        features, maps = net.forward_intermediates(x, [0, -1], pre_activation=True)
        return net(x), net.forward_head(features), maps

    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images()), run(images()), rtol=0, atol=0)


@pytest.mark.parametrize("name", SMALLEST)
def test_the_head_is_timms(name):
    net = sketch(name, num_classes=7, in_chans=1, drop_rate=0.5)
    x = torch.zeros(2, 1, 32, 32, device="meta")
    assert (net.num_classes, net.drop_rate) == (7, 0.5)
    assert net(x).shape == (2, 7)
    net.reset_classifier(5, "catavgmax")
    assert net.num_classes == net.get_classifier().out_features == 5
    assert net(x).shape == (2, 5)
    net.reset_classifier(0, "avg")
    assert isinstance(net.get_classifier(), nn.Identity)
    assert net(x).shape == (2, net.num_features)
    with pytest.raises(TypeError, match="whatever"):
        timm.create_model(name, whatever=1)


def test_dropout_comes_before_the_classifier():
    net = timm.create_model("cifar_resnet8", drop_rate=0.5).train()
    features = torch.ones(64, 64, 8, 8)
    dropped = (net.forward_head(features, pre_logits=True) == 0).float().mean()
    assert 0.4 < dropped < 0.6
    assert (net.eval().forward_head(features, pre_logits=True) == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_default_cfg(name):
    net = sketch(name)
    own = net.default_cfg
    first, classifier = map(net.get_submodule, (own["first_conv"], own["classifier"]))
    assert isinstance(first, nn.Conv2d)
    assert first.in_channels == 3
    assert classifier is net.get_classifier()
    assert own["architecture"] == name
    assert own["input_size"] == (3, 32, 32)
    assert own["mean"] == (0.5071, 0.4867, 0.4408)
    assert own["std"] == (0.2675, 0.2565, 0.2761)
    final = net.forward_intermediates(torch.zeros(1, 3, 32, 32, device="meta"))[0]
    assert own["pool_size"] == tuple(final.shape[-2:])


@pytest.mark.parametrize("name", SMALLEST)
def test_pretrained(name, tmp_path):
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model(name, pretrained=True)
    source = trained(name)
    path = tmp_path / "net.pt"
    torch.save(source.state_dict(), path)
    net = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, num_classes=9, in_chans=1
    )
    own = net.default_cfg
    first, original = (n.get_submodule(own["first_conv"]).weight for n in (net, source))
    torch.testing.assert_close(first, original.sum(1, keepdim=True))
    assert net.get_classifier().out_features == 9


@torch.no_grad()
@pytest.mark.parametrize("name", SMALLEST)
def test_features_only(name):
    net = trained(name)
    extractor = timm.create_model(name, features_only=True).eval()
    extractor.load_state_dict(net.state_dict(), strict=False)
    assert extractor.feature_info.channels() == [info["num_chs"] for info in net.feature_info]
    maps = net.forward_intermediates(images(), intermediates_only=True)
    torch.testing.assert_close(extractor(images()), maps, rtol=0, atol=0)


@pytest.mark.parametrize("name", SMALLEST)
def test_initialisation(name):
    net = timm.create_model(name)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    largest = max(convolutions, key=lambda conv: conv.weight.numel())
    fan_out = largest.out_channels * math.prod(largest.kernel_size)
    assert largest.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.03)
    assert abs(largest.weight.mean().item()) < 0.03 * math.sqrt(2 / fan_out)
    assert all((conv.bias == 0).all() for conv in convolutions if conv.bias is not None)
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
    bound = 1 / math.sqrt(net.num_features)
    assert net.get_classifier().weight.abs().max().item() == pytest.approx(bound, rel=0.03)
