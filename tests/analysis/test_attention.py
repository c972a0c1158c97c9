"""Where networks look: attention maps and Grad-CAM, against their formulas and a network's own layers."""

import pytest
import torch

from cohobate.analysis.attention import as_map, attention, grad_cam, look, look_up, looked
from cohobate.analysis.pictures import opened
from cohobate.methods import METHODS
from cohobate.models import Classifier

TARGETS = torch.tensor([0, 2])


def scaled(heat):
    """Each map divided by its largest value; at least one of them has any."""
    assert bool(heat.any())
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_attention_is_the_mean_square_over_channels_divided_by_the_largest():
    maps = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    found = attention(maps)
    for row in range(2):
        squares = [
            [sum(float(maps[row, c, y, x]) ** 2 for c in range(3)) / 3 for x in range(2)]
            for y in range(2)
        ]
        largest = max(map(max, squares))
        for y in range(2):
            for x in range(2):
                assert float(found[row, y, x]) == pytest.approx(squares[y][x] / largest, rel=1e-5)
    assert attention(torch.zeros(1, 3, 2, 2)).tolist() == [[[0, 0], [0, 0]]]


def test_grad_cam_is_its_formula():
    generator = torch.Generator().manual_seed(2)
    maps, slopes = (torch.randn(1, 3, 2, 2, generator=generator) for _ in range(2))
    heat = torch.zeros(2, 2)
    for channel in range(3):
        alpha = sum(slopes[0, channel].flatten().tolist()) / 4
        heat += alpha * maps[0, channel]
    expected = heat.clamp_min(0) / heat.clamp_min(0).max()
    torch.testing.assert_close(grad_cam(maps, slopes)[0], expected)


def test_of_a_pooled_and_linear_head_grad_cam_is_the_class_activation_map(images):
    network = Classifier("cifar_resnet8", 4, size=32).eval()
    logits, stages, cam = look(network, images, TARGETS)
    trace = network.trace(images)
    torch.testing.assert_close(logits, trace.logits)
    torch.testing.assert_close(stages[1], attention(trace.stages[1]))
    weight = network.net.get_classifier().weight[TARGETS]  # (B, C), each divided by H W
    heat = (weight[:, :, None, None] * trace.stages[-1]).sum(1).relu()
    assert cam is not None
    torch.testing.assert_close(cam, scaled(heat), rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_frozen_network_is_looked_at_too(images):
    network = Classifier("cifar_resnet8", 4, size=32).eval()
    _, _, expected = look(network, images, TARGETS)
    _, _, cam = look(network.requires_grad_(False), images, TARGETS)
    assert cam is not None
    assert expected is not None
    torch.testing.assert_close(cam, expected)


def test_a_transformer_is_seen_where_its_patches_still_count(images):
    """The last block hands on its class token alone, so Grad-CAM is of the stage before."""
    small = {"patch_size": 8, "depth": 4, "embed_dim": 32, "num_heads": 2}
    network = Classifier("vit_tiny_patch16_224", 4, size=32, **small).eval()
    _, stages, cam = look(network, images, TARGETS)
    assert cam is not None
    assert cam.shape == stages[-1].shape == (2, 4, 4)
    blocks = network.net.blocks
    tokens = network.net._pos_embed(network.net.patch_embed(network.normalise(images)))
    for block in blocks[:3]:
        tokens = block(tokens)
    tokens = tokens.detach().requires_grad_()
    logits = network.net.forward_head(network.net.norm(blocks[3](tokens)))
    (slope,) = torch.autograd.grad(logits[[0, 1], TARGETS].sum(), tokens)
    grid, slope = (each[:, 1:].detach().view(2, 4, 4, 32) for each in (tokens, slope))
    heat = (slope.mean((1, 2))[:, None, None] * grid).sum(3).relu()
    torch.testing.assert_close(cam, scaled(heat), rtol=1e-3, atol=1e-4)


def test_tokens_and_channels_that_come_last_become_maps():
    like = torch.zeros(2, 6, 3, 4)
    maps = torch.rand(2, 6, 3, 4)
    tokens = maps.flatten(2).transpose(1, 2)
    with_class = torch.cat([torch.ones(2, 1, 6), tokens], 1)
    for output in (maps, maps.permute(0, 2, 3, 1), tokens, with_class):
        assert torch.equal(as_map(output, like), maps)


def test_the_self_teacher_of_frskd_is_seen_on_its_rectified_maps(images):
    method = METHODS["frskd"](Classifier("cifar_resnet8", 4, size=32)).eval()
    pyramid = method.get_submodule("self_teacher")
    logits, stages, cam = look_up(method.model, pyramid, images, TARGETS)  # pyright: ignore[reportArgumentType]
    trace = pyramid(method.model.trace(images).stages)
    torch.testing.assert_close(logits, trace.logits)
    torch.testing.assert_close(stages[0], attention(trace.stages[0].relu()))
    weight = pyramid.get_submodule("classifier").weight[TARGETS]  # of the class activation map
    heat = (weight[:, :, None, None] * trace.stages[-1].relu()).sum(1).relu()
    torch.testing.assert_close(cam, scaled(heat), rtol=1e-4, atol=1e-5)


def test_all_networks_of_a_run_look_on_the_same_images(images):
    teacher = Classifier("cifar_resnet14", 4, size=32)
    method = METHODS["kd"](Classifier("cifar_resnet8", 4, size=32), teacher=teacher)
    found = looked(method, images, TARGETS, [7, 9])
    assert [(each.row, each.target) for each in found] == [(7, 0), (9, 2)]
    for place, each in enumerate(found):
        assert [look.network for look in each.looks] == ["network", "teacher"]
        shares = teacher.eval()(images[place][None]).softmax(1)[0]
        assert each.looks[1].share == pytest.approx(float(shares[TARGETS[place]]), rel=1e-3)
        for uri in (each.picture, each.looks[1].cam, *each.looks[1].pictures):
            assert opened(uri).size == (96, 96)
