"""Any timm network: read on its way, cut into tails, made anew, frozen; and named wrongly."""

from copy import deepcopy
from functools import cache
from math import ceil
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Mixture
from cohobate.models import Classifier, Stage
from cohobate.models.trace import read_stages

CLASSES = 5
SWIN = {"embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}
# Of many families: the size of the images, options that make it small, and whether the cut after
# each stage leaves a chain.
NETWORKS: dict[str, tuple[int, dict[str, Any], bool]] = {
    "cait_xxs24_224": (64, {"depth": 4}, False),
    "cifar_preact_resnet18": (32, {}, True),
    "cifar_vgg8": (32, {}, True),
    "cifar_wrn_16_1": (32, {}, True),
    "coat_tiny": (64, {}, False),
    "convnext_atto": (64, {}, True),
    "crossvit_tiny_240": (240, {}, False),
    "cspresnet50": (64, {}, False),
    "deit_tiny_distilled_patch16_224": (64, {"depth": 4}, False),
    "densenet121": (64, {}, True),
    "dla46_c": (64, {}, True),
    "edgenext_xx_small": (64, {}, True),
    "efficientnet_b0": (64, {}, True),
    "efficientvit_m0": (64, {}, True),
    "gmixer_12_224": (64, {}, False),
    "ghostnet_050": (64, {}, True),
    "hiera_tiny_224": (64, {"embed_dim": 24}, False),
    "hrnet_w18_small": (64, {}, False),
    "mobilenetv3_small_050": (64, {}, True),
    "mobilenetv4_conv_small": (64, {}, True),
    "pit_ti_224": (64, {}, False),
    "pvt_v2_b0": (64, {}, True),
    "regnetx_002": (64, {}, True),
    "repvgg_a0": (64, {}, True),
    "resnet10t": (64, {}, True),
    "shvit_s1": (64, {}, True),
    "swin_tiny_patch4_window7_224": (64, SWIN, False),
    "test_convnext": (64, {}, True),
    "test_nfnet": (64, {}, True),
    "test_vit": (64, {}, False),
    "volo_d1_224": (64, {}, True),
    "xcit_nano_12_p8_224": (64, {}, False),
}
CHAINS = [name for name, (_, _, chain) in NETWORKS.items() if chain]


def build(name: str, **given: Any) -> Classifier:
    size, options, _ = NETWORKS[name]
    torch.manual_seed(0)
    return Classifier(name, CLASSES, size=size, **{**options, **given})


@cache
@torch.no_grad()
def network(name: str) -> Classifier:
    """As after some training, in eval mode. Not to be changed."""
    model = build(name)
    draw = torch.Generator().manual_seed(0)
    for p in model.parameters():  # no residual branch is zero, and no layer's scale 1e-6
        p += (0.01 + 0.3 * p.abs().mean()) * torch.randn(p.shape, generator=draw)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0  # statistics of these images
    model.train()(images(model, 8))
    return model.eval()


def images(model: Classifier, rows: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(rows, 3, model.size, model.size, generator=draw)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for the rounding of values of that size."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_trace_is_the_forward_pass(name):
    model = network(name)
    trace, logits = model.trace(images(model)), model(images(model))
    assert logits.shape == (2, CLASSES)
    assert trace.logits.dtype == logits.dtype == torch.float32
    assert logits.diff(dim=0).norm() > 1e-4 * logits.norm()  # of two images two predictions
    close(trace.logits, logits)
    assert trace.embedding.ndim == 2
    assert trace.embedding.shape[0] == 2


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_stages_describe_the_maps(name):
    model = network(name)
    maps = model.trace(images(model)).stages
    assert 2 <= len(model.stages) <= 4
    assert [f.shape[:2] for f in maps] == [(2, stage.channels) for stage in model.stages]
    assert [f.shape[2] for f in maps] == [f.shape[3] for f in maps]
    steps = zip(model.stages, model.stages[1:], maps, maps[1:])
    for before, after, above, below in steps:
        assert before.tap < after.tap or name == "crossvit_tiny_240"
        if name == "crossvit_tiny_240":  # two images of two sizes, side by side
            assert [f.shape[2] for f in maps] == [20, 14]
        else:
            assert below.shape[2] == ceil(above.shape[2] * before.stride / after.stride)
    pyramid = model.stages[0].stride != model.stages[-1].stride
    assert len({stage.stride for stage in model.stages}) == (len(maps) if pyramid else 1)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet10t", "cifar_vgg8", "convnext_atto", "test_vit"])
def test_embedding_is_what_the_classifier_sees(name):
    model = network(name)
    trace = model.trace(images(model))
    close(model.net.get_classifier()(trace.embedding), trace.logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_trace_trains_what_the_forward_pass_trains(name):
    """With dropout, in train mode."""
    model = build(name, drop_rate=0.5).train()
    idle = []
    for logits in (model(images(model)), model.trace(images(model)).logits):
        model.zero_grad()
        F.cross_entropy(logits, torch.tensor([0, 1])).backward()
        idle.append([key for key, p in model.named_parameters() if p.grad is None])
    assert idle[0] == idle[1] == []


def test_dropout_acts_in_training_alone():
    model = build("resnet10t", drop_rate=0.9)
    x = images(model)
    model.eval()
    close(model.trace(x).logits, model(x))
    assert torch.equal(model.trace(x).logits, model.trace(x).logits)
    model.train()
    assert not torch.equal(model.trace(x).logits, model.trace(x).logits)


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_tails_go_on_where_the_network_is_a_chain(name):
    model = network(name)
    trace = model.trace(images(model))
    for stage, features in zip(model.stages[:-1], trace.stages):
        tail = model.tail(stage)
        assert (tail is not None) == (name in CHAINS)
        if tail is None:
            continue
        own = tail.net.state_dict()
        given = {key: model.net.state_dict()[key] for key in own}
        weights = [key for key, p in tail.net.named_parameters() if p.ndim > 1]
        assert weights
        assert not any(torch.equal(own[key], given[key]) for key in weights)
        tail.net.load_state_dict(given)
        rest = tail.eval().trace(features)
        close(rest.logits, trace.logits)
        close(rest.embedding, trace.embedding)
        close(rest.stages[-1], trace.stages[-1])
        assert len(rest.stages) == 1


def test_levit_goes_on_from_its_first_stage_alone():
    """From the second on, timm gives the tail's map another shape than the network's."""
    model = Classifier("levit_128s", CLASSES)
    assert [model.tail(stage) is not None for stage in model.stages[:-1]] == [True, False]


def test_tail_has_classes_of_its_own():
    model = build("cifar_vgg8")
    tail = model.tail(model.stages[1], num_classes=7)
    assert tail is not None
    features = model.trace(images(model)).stages[1]
    assert tail.trace(features).logits.shape == (2, 7)


@pytest.mark.parametrize("options", [{"img_size": 32, "patch_size": 8, "depth": 4}, {"size": 32}])
def test_tail_of_a_transformer_for_small_images(options):
    model = Classifier("vit_tiny_patch16_224", CLASSES, **options)
    assert model.size == 32
    assert model.tail(model.stages[0]) is None
    assert model(images(model)).shape == (2, CLASSES)


def test_fresh_has_new_weights_and_the_same_options():
    model = build("resnet10t", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), drop_path_rate=0.3)
    model.get_buffer("std").mul_(2)  # as if loaded
    fresh = model.fresh()
    assert fresh.spec == model.spec
    assert (fresh.size, fresh.num_classes, fresh.stages) == (64, CLASSES, model.stages)
    assert torch.equal(fresh.get_buffer("mean"), model.get_buffer("mean"))
    assert torch.equal(fresh.get_buffer("std"), model.get_buffer("std"))
    convolutions = [key for key, p in model.named_parameters() if p.ndim == 4]
    for key in convolutions:
        assert not torch.equal(fresh.get_parameter(key), model.get_parameter(key))
    rates = [m.drop_prob for m in fresh.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.3)
    assert model.fresh(num_classes=9)(images(model)).shape == (2, 9)


@pytest.fixture
def weights(tmp_path):
    """The file of a network that was trained on 7 classes."""
    torch.manual_seed(3)
    net = timm.create_model("cifar_resnet8", num_classes=7)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt", net


def test_pretrained_is_loaded_and_fresh_never_is(weights):
    path, source = weights
    overlay = {"file": str(path), "num_classes": 7}
    model = Classifier("cifar_resnet8", 7, pretrained=True, pretrained_cfg_overlay=overlay)
    torch.testing.assert_close(model.net.state_dict(), source.state_dict(), rtol=0, atol=0)
    fresh = model.fresh()
    assert not torch.equal(fresh.net.stem.conv.weight, source.stem.conv.weight)


def test_of_a_folder(weights, tmp_path):
    _, source = weights
    timm.models.save_for_hf(
        source,
        str(tmp_path / "run"),
        safe_serialization=True,
        data_config={"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)},
    )
    model = Classifier(f"local-dir:{tmp_path / 'run'}", 7, pretrained=True)
    torch.testing.assert_close(model.net.state_dict(), source.state_dict(), rtol=0, atol=0)
    assert model.get_buffer("mean").flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    fresh = model.fresh()
    assert not torch.equal(fresh.net.stem.conv.weight, source.stem.conv.weight)
    assert torch.equal(fresh.get_buffer("mean"), model.get_buffer("mean"))


FREEZABLE = [
    "cifar_wrn_16_1",
    "convnext_atto",
    "densenet121",
    "efficientnet_b0",
    "hiera_tiny_224",
    "pvt_v2_b0",
    "regnetx_002",
    "resnet10t",
    "swin_tiny_patch4_window7_224",
    "test_vit",
]


def still(model: Classifier) -> set[str]:
    """The values that two steps of training, weight decay included, leave as they were."""
    before = deepcopy(model.net.state_dict())
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=0.1, weight_decay=0.01)
    nn.ModuleList([model]).train()  # as part of a method
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(images(model)), torch.tensor([0, 1])).backward()
        optimizer.step()
    return {key for key, v in model.net.state_dict().items() if torch.equal(v, before[key])}


def values(model: Classifier) -> set[str]:
    """Every parameter, and every buffer of a batch norm."""
    norms = [name for name, m in model.net.named_modules() if isinstance(m, nn.BatchNorm2d)]
    ends = ("running_mean", "running_var", "num_batches_tracked")
    buffers = {f"{name}.{end}" for name in norms for end in ends}
    return {key for key, _ in model.net.named_parameters()} | buffers


@pytest.mark.parametrize("name", FREEZABLE)
def test_freeze_keeps_just_what_a_stage_is_computed_from(name):
    depth = len(build(name).stages) - 1
    model = build(name)
    parameters = dict(model.net.named_parameters())
    stage = model.trace(images(model)).stages[depth - 1]
    slopes = torch.autograd.grad(stage.sum(), [*parameters.values()], allow_unused=True)
    needed = {key for key, slope in zip(parameters, slopes) if slope is not None}
    model.freeze(depth)
    frozen = {key for key, p in parameters.items() if not p.requires_grad}
    assert frozen == needed
    norms = {key.rpartition(".")[0] for key in needed}
    expected = needed | {key for key in values(model) if key.rpartition(".")[0] in norms}
    assert still(model) & values(model) == expected
    model.eval().train()
    assert not model.trace(images(model)).stages[depth - 1].requires_grad


def test_freeze_nothing():
    model = build("resnet10t")
    model.freeze(0)
    assert all(p.requires_grad for p in model.parameters())
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_freeze_the_backbone_leaves_the_classifier(name):
    model = build(name)
    model.freeze("backbone")
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    assert learning == {id(p) for p in model.head().parameters()}
    shapes = [p.shape for p in model.parameters() if p.requires_grad and p.ndim > 1]
    assert shapes
    assert {shape[0] for shape in shapes} == {CLASSES}


@pytest.mark.parametrize("name", ["resnet10t", "efficientvit_m0", "test_vit"])
def test_freeze_the_backbone_keeps_all_else_still(name):
    model = build(name)
    model.freeze("backbone")
    heads = {key for key, p in model.net.named_parameters() if p.requires_grad}
    assert still(model) & values(model) == values(model) - heads


def test_freeze_too_deep():
    model = build("cifar_wrn_16_1")
    with pytest.raises(ValueError, match=r'freeze=4.*"?cifar_wrn_16_1\'? has 3 stages.*"backbone"'):
        model.freeze(4)


@pytest.mark.parametrize(
    "name, depth", [("crossvit_tiny_240", 1), ("coat_tiny", 2), ("hrnet_w18_small", 1)]
)
def test_freeze_where_no_module_ends_with_the_stage(name, depth):
    with pytest.raises(ValueError, match=rf'freeze={depth}: in .{name}. no module.*"backbone"'):
        build(name).freeze(depth)


def test_normalises_raw_images():
    model = build("cifar_vgg8", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125)).eval()
    x = images(model)
    normal = model.normalise(x)
    for c, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 0.125)]):
        torch.testing.assert_close(normal[:, c], (x[:, c] - mean) / std)
    torch.testing.assert_close(model(x), model.net(normal))
    views = torch.stack([x, x.flip(3)], 1)
    torch.testing.assert_close(model.normalise(views)[:, 0], normal)
    own = timm.models.get_pretrained_cfg("cifar_vgg8")
    assert build("cifar_vgg8").get_buffer("mean").flatten().tolist() == pytest.approx(own.mean)


def test_state_holds_timms_own_keys():
    model = build("resnet10t")
    net = timm.create_model("resnet10t", num_classes=CLASSES)
    net.load_state_dict(model.net.state_dict(), strict=True)
    own = {f"net.{key}" for key in net.state_dict()}
    assert model.state_dict().keys() == own | {"mean", "std"}


def test_losses_are_the_cross_entropy_of_mixed_labels():
    model = build("cifar_vgg8").eval()
    batch = Batch(images(model, 3), torch.tensor([0, 4, 2]), torch.arange(3))
    log_p = model(batch.images).log_softmax(1)
    expected = -(log_p[0, 0] + log_p[1, 4] + log_p[2, 2]) / 3
    torch.testing.assert_close(model.losses(batch), {"ce": expected})
    mix = Mixture(torch.tensor([1, 2, 0]), torch.tensor([0.3, 1.0, 0.6]))
    log_p = model(mix.blend(batch.images)).log_softmax(1)
    expected = -(
        0.3 * log_p[0, 0] + 0.7 * log_p[0, 4] + log_p[1, 4] + 0.6 * log_p[2, 2] + 0.4 * log_p[2, 0]
    )
    torch.testing.assert_close(model.losses(batch._replace(mix=mix)), {"ce": expected / 3})


@pytest.mark.parametrize(
    "arch, words",
    [
        ("resnet_18", "unknown model 'resnet_18': did you mean 'resnet18'?"),
        ("cifar_resnet21", "unknown model 'cifar_resnet21': did you mean 'cifar_resnet"),
        ("qqqqqqqq", "unknown model 'qqqqqqqq': `cohobate models` lists them"),
    ],
)
def test_unknown_model(arch, words):
    with pytest.raises(ValueError) as error:
        Classifier(arch, CLASSES)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arch", ["resnet10t", "cifar_vgg8", "test_vit", "efficientnet_b0"])
def test_unknown_option(arch):
    with pytest.raises(
        ValueError, match=rf"model '{arch}': unknown option of \[model\] 'wings': .*drop_rate"
    ):
        Classifier(arch, CLASSES, wings=2)


def test_option_of_the_wrong_kind():
    with pytest.raises(ValueError, match=r"test_vit.*int"):
        Classifier("test_vit", CLASSES, depth="two")


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224", "gmixer_12_224"])
def test_fixed_networks_get_the_size_of_the_images(name):
    own = timm.models.get_pretrained_cfg(name).input_size[-1]
    _, options, _ = NETWORKS[name]
    for size in (None, 64):
        model = Classifier(name, CLASSES, size=size, **options)
        assert model.size == (size or own)
        assert model(images(model)).shape == (2, CLASSES)
    assert model.fresh().size == 64


def test_sizes_that_differ():
    with pytest.raises(ValueError, match=r"img_size=64.*size=32"):
        Classifier("test_vit", CLASSES, size=32, img_size=64)


def test_weights_that_are_not_there():
    with pytest.raises(ValueError, match=r"pretrained weights of 'cifar_vgg8'.*pretrained=false"):
        Classifier("cifar_vgg8", CLASSES, pretrained=True)


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError("No route to host. Trying again.\nTraceback"), "No route to host"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_weights_that_cannot_be_fetched(monkeypatch, error, reason):
    def unreachable(*_, **__):
        raise error

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ValueError, match=rf"'cifar_vgg8' could not be had \({reason}\)"):
        Classifier("cifar_vgg8", CLASSES, pretrained=True)


def test_a_network_that_timm_cannot_tap():
    net = nn.Linear(1, 1)
    assert read_stages(net) == ()
    net.feature_info = [{"module": "layer1", "num_chs": 1, "reduction": 2}]
    assert read_stages(net) == ()
    model = build("cifar_vgg8")
    model.stages = ()
    with pytest.raises(ValueError, match=r"'cifar_vgg8' has no stages.*`cohobate models NAME`"):
        model.trace(images(model))
    assert model(images(model)).shape == (2, CLASSES)
    model.freeze("backbone")


@pytest.mark.parametrize(
    "strides, chosen",
    [
        ([2, 4, 8, 16, 32], [1, 2, 3, 4]),  # the last four resolutions
        ([1, 2, 4], [0, 1, 2]),
        ([2, 4, 4, 8, 8, 8], [0, 2, 5]),  # the last map of each
        ([16] * 12, [2, 5, 8, 11]),  # evenly spaced, ending with the last
        ([16] * 6, [0, 2, 3, 5]),
        ([16] * 3, [0, 1, 2]),
        ([32], [0]),
    ],
)
def test_stages_of_a_pyramid_and_of_one_resolution(strides, chosen):
    net = nn.Identity()
    net.forward_intermediates = None
    net.feature_info = [
        {"module": f"block{i}", "num_chs": 10 + i, "reduction": s} for i, s in enumerate(strides)
    ]
    expected = tuple(Stage(i, f"block{i}", 10 + i, strides[i]) for i in chosen)
    assert read_stages(net) == expected
