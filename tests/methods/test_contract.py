"""What every method promises the engine, for every method on a CNN and on a transformer.

A new method is tested by standing in METHODS; a line in VARIANTS adds an option that takes another
way through its code.
"""

import inspect
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, get_type_hints

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from cohobate.core import Batch, Method, Progress
from cohobate.losses import total
from cohobate.methods import METHODS
from cohobate.models import Classifier
from cohobate.modules import EMA, Frozen, mixing
from places import CLASSIFYING

CLASSES, SIZE, ROWS, SAMPLES = 5, 32, 6, 20
BUILT = {"teacher", "samples"}  # what a run builds for a method, and nobody chooses a value of
BACKBONES: dict[str, Callable[[], Classifier]] = {
    "cnn": lambda: Classifier("cifar_resnet8", CLASSES),
    "transformer": lambda: Classifier(
        "vit_tiny_patch16_224", CLASSES, img_size=SIZE, patch_size=8, depth=4, embed_dim=48
    ),
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "bake": [{"variant": "released", "companions": 1}],
    "crd": [{"alpha": 1.0}],
    "cutmix": [{"per": "sample"}],
    "ddgsd": [{"variant": "released"}],
    "dist": [{"standardise": True}],
    "dkd": [{"standardise": True, "warmup": 0}],
    "dml": [{"peers": 3}],
    "fitnet": [{"stage": 1, "rectified": False}],
    "frskd": [
        {"variant": "released"},
        {"feature": "fitnet", "constant": 12},
        {"feature": "overhaul", "beta": 1e-3},
        {"feature": "none", "ramp_end": 0.5},
    ],
    "ft": [{"pooled": True}],
    "ft_paraphraser": [{"frozen": True}],
    "hsakd_teacher": [{"frozen": True}],
    "hssakd": [{"peers": 3}],
    "icsd": [{"adaptive": False}],
    "kd": [{"standardise": True}],
    "manifold_mixup": [{"per": "sample", "deepest": 3}],
    "max_entropy": [{"variant": "released"}],
    "mean_teacher": [{"distance": "kl", "alpha": 1.0}],
    "mixkd": [{"standardise": "kl"}, {"standardise": "none", "mixing": "cutmix"}],
    "mixskd": [{"variant": "released"}, {"self_teacher_norm": True}],
    "mlkd": [{"standardise": True, "temperatures": (4.0,)}],
    "sad": [{"start": 0.5}],
    "sskd_teacher": [{"frozen": True}],
    "tf_kd": [{"variant": "released"}],
    "unix": [{"gamma": 0.5, "queried": 1.0}],
    "uskd": [{"variant": "released"}],
    "wcord": [{"alpha": 1.0}],
}
PYRAMID = ["frskd", "frskd_sla"]
"""Methods that refuse a network whose maps are all of one size."""
CHAINED = ["manifold_mixup"]
"""Methods that refuse a network that is no chain of stages, as no transformer is."""
RECALLING = [name for name, kind in METHODS.items() if kind.recalls != "nothing"]
CASES = {
    "-".join([name, *(f"{k}={v}" for k, v in given.items())]): (name, given)
    for name in CLASSIFYING
    for given in ({}, *VARIANTS.get(name, []))
}
PAIRS = [
    f"{case} {backbone}"
    for case, (name, given) in CASES.items()
    for backbone in (["cnn"] if given or name in PYRAMID + CHAINED else BACKBONES)
]
"""Every method with both backbones where it takes them, its variants with the first."""


def options(kind: type[Method]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a method."""
    parameters = inspect.signature(kind).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def made(name: str, model: Classifier, **given: Any) -> Method:
    """A method around `model`; a teacher and the number of samples where it asks for them."""
    if "teacher" in options(METHODS[name]):
        wanted = get_type_hints(METHODS[name].__init__)["teacher"]
        small = Classifier("cifar_resnet8", model.num_classes)
        given.setdefault("teacher", small if wanted is Classifier else wanted(model.fresh()))
    if "samples" in options(METHODS[name]):
        given.setdefault("samples", SAMPLES)
    return METHODS[name](model, **given)


def now(epoch: int = 1, step: int = 3) -> Progress:
    return Progress(torch.tensor(epoch), 4, torch.tensor(step), 12)


def batch_for(method: Method, seed: int = 1) -> Batch:
    """A batch of the shape that the method wants, mixed where it mixes."""
    draw = torch.Generator().manual_seed(seed)
    views = (method.views,) if method.views > 1 else ()
    rows = ROWS * (1 + method.companions)
    images = torch.rand(rows, *views, 3, SIZE, SIZE, generator=draw)
    targets = torch.arange(ROWS).remainder(CLASSES).repeat(1 + method.companions)
    return method.mixed(Batch(images, targets, torch.arange(rows)), draw)


def networks(method: Method) -> list[nn.Module]:
    """The networks that the method holds and does not train."""
    return [part for part in method.modules() if isinstance(part, Frozen | EMA)]


@pytest.fixture(scope="module", params=PAIRS)
def pair(request) -> tuple[str, str]:
    """A case and a backbone."""
    return request.param.rsplit(" ", 1)


@pytest.fixture(scope="module")
def case(pair) -> tuple[str, dict[str, Any]]:
    """A method's name and its options."""
    return CASES[pair[0]]


@pytest.fixture(scope="module")
def built(case, pair) -> Method:
    """Is built once, and stays as it is."""
    torch.manual_seed(0)
    name, given = case
    return made(name, BACKBONES[pair[1]](), **given)


@pytest.fixture
def method(built) -> Method:
    return deepcopy(built)


@pytest.mark.parametrize("name", CHAINED)
def test_a_chain_is_asked_for(name):
    with pytest.raises(ValueError, match="'vit_tiny_patch16_224' is no chain of stages"):
        made(name, BACKBONES["transformer"]())


@pytest.mark.parametrize("name", PYRAMID)
def test_a_pyramid_is_asked_for(name):
    sentence = "'vit_tiny_patch16_224' has stages of 4 × 4, .* pyramid.*: choose"
    with pytest.raises(ValueError, match=sentence):
        made(name, BACKBONES["transformer"]())


@pytest.mark.parametrize("name", METHODS)
def test_is_final_and_says_what_it_is(name):
    kind = METHODS[name]
    assert kind.__module__ == f"cohobate.methods.{name}"
    assert kind.__name__.lower() == name.replace("_", "")
    assert kind.__base__ is Method
    doc = inspect.cleandoc(kind.__doc__ or "")
    assert re.search(r"https?://\S+", doc)
    described = {word for line in re.findall(r"(?m)^([\w, ]+): ", doc) for word in line.split(", ")}
    chosen = options(kind).keys() - BUILT
    assert chosen <= described
    assert all(options(kind)[option].default is not inspect.Parameter.empty for option in chosen)


def test_losses_are_named_finite_scalars(method):
    """Random numbers come with the batch: else those of a resumed run would be others."""
    assert method.mixes or method.mix is None
    batch, state = batch_for(method), torch.get_rng_state()
    losses = method(batch, now())
    assert losses
    for name, loss in losses.items():
        assert name.isidentifier()
        assert (loss.shape, loss.dtype) == ((), torch.float32), name
        assert loss.isfinite(), name
    assert torch.equal(torch.get_rng_state(), state)


def test_every_trainable_parameter_gets_a_gradient(method):
    """DDP raises at the next step where a trainable parameter takes no part in the losses."""
    total(method(batch_for(method), now()).values()).backward()
    assert [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_networks_that_are_not_trained_stay_as_they_are(method):
    nets = networks(method)
    assert nets or "teacher" not in options(type(method))
    before = [deepcopy(net.state_dict()) for net in nets]
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, weight_decay=0.1)
    method.eval().train()
    for step in range(2 if nets else 0):
        total(method(batch_for(method, step), now(step=step)).values()).backward()
        optimizer.step()
    for net, state in zip(nets, before):
        assert not any(module.training for module in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
        torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
        net.requires_grad_(True)  # and none would reach them if they took one
    total(method(batch_for(method), now()).values()).backward()
    assert all(p.grad is None for net in nets for p in net.parameters())


def test_state_dict_is_the_whole_state(method, case):
    batch = batch_for(method)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    total(method(batch, now(0, 0)).values()).backward()
    optimizer.step()
    method.after_step(now(0, 0))
    name, given = case
    twin = made(name, method.model.fresh(), **given)
    different = twin(batch, now())
    twin.load_state_dict(deepcopy(method.state_dict()), strict=True)
    expected, actual = method(batch, now()), twin(batch, now())
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert any(different[name] != expected[name] for name in expected)


def test_looks_at_no_value(method):
    """On the meta device nothing can be read: no `.item()`, no branch on a tensor."""
    ghost, batch = deepcopy(method).to("meta"), batch_for(method)
    mix = batch.mix and type(batch.mix)(*(v if v is None else v.to("meta") for v in batch.mix))
    batch = Batch(batch.images.to("meta"), batch.targets.to("meta"), batch.ids.to("meta"), mix)
    here = torch.zeros((), device="meta")
    losses = ghost(batch, Progress(here, 4, here, 12))
    assert {loss.device.type for loss in losses.values()} == {"meta"}


@pytest.mark.parametrize("pair", [f"{name} cnn" for name in CLASSIFYING], indirect=True)
def test_compiles_to_one_graph_whatever_the_progress(method):
    torch.compiler.reset()
    steps = [(batch_for(method, k), now(k, 3 * k)) for k in range(3)]
    twin, counter = deepcopy(method), CompileCounter()
    expected = [method(*step) for step in steps]
    twin.compile(fullgraph=True, backend=counter)
    actual = [twin(*step) for step in steps]
    torch.testing.assert_close(actual, expected)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    "pair", [p for p in PAIRS if CASES[p.rsplit(" ", 1)[0]][0] in RECALLING], indirect=True
)
def test_what_is_recalled_stands_for_the_teacher(method):
    """Alike in every loss, whatever constant it is off by; and the teacher is not asked."""
    batch = batch_for(method)
    expected = method(batch, now())
    taught = method.get_submodule("teacher")(batch.inputs) + torch.linspace(-5, 5, ROWS)[:, None]
    method.teacher.net = None
    told = method(batch._replace(taught=taught), now())
    torch.testing.assert_close(told, expected, rtol=1e-5, atol=1e-5)  # what 5 takes of the digits


def test_works_under_any_mixing(method):
    batch = batch_for(method)
    before = deepcopy(method)(batch, now())
    for mix in (
        mixing.Mixup(per="sample"),
        mixing.ResizeMix(share=0.5),
    ):  # which cuts as CutMix does
        method.mix = mix
        after = method(method.mixed(batch, torch.Generator().manual_seed(3)), now())
        assert after.keys() == before.keys()
        assert all(loss.isfinite() for loss in after.values())
        assert total(after.values()) != total(before.values())


def test_precision_and_memory_format_change_nothing(method):
    """Losses stay float32 under bf16, and are those of float32 but for rounding."""
    batch = batch_for(method)
    expected = deepcopy(method)(batch, now())
    quick = deepcopy(method)
    with torch.autocast("cpu", torch.bfloat16):
        losses = quick(batch, now())
    total(losses.values()).backward()
    for name, loss in losses.items():
        assert loss.dtype is torch.float32, name
        torch.testing.assert_close(loss, expected[name], rtol=0.1, atol=0.05)
    assert all(p.grad.isfinite().all() for p in quick.parameters() if p.grad is not None)
    method.to(memory_format=torch.channels_last)
    images = batch.images
    if images.ndim == 4:
        images = images.to(memory_format=torch.channels_last)
    actual = method(batch._replace(images=images), now())
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
