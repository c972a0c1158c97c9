"""Segmenters: what they give for images of any shape, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from cohobate.core import VOID, Batch
from cohobate.models import Segmenter

NETWORKS = [
    ("fpn", "resnet10t"),
    ("upernet", "cifar_resnet8"),
    ("deeplabv3plus", "resnet10t"),
    ("pspnet", "resnet10t"),
    ("bifpn", "mobilenetv3_small_050"),
    ("fpn", "convnext_atto"),
    ("upernet", "swin_tiny_patch4_window7_224"),
]


def segmenter(decoder="fpn", arch="resnet10t") -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(arch, 3, decoder=decoder, width=32, size=64)


@pytest.mark.parametrize(("decoder", "arch"), NETWORKS)
def test_every_pixel_gets_logits_and_every_parameter_a_gradient(decoder, arch):
    network = segmenter(decoder, arch)
    images = torch.rand(2, 3, 50, 70)
    trace = network.trace(images)
    assert trace.logits.shape == (2, 3, 50, 70) and trace.logits.dtype == torch.float32
    assert len(trace.stages) == len(network.stages)
    trace.logits.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_a_twin_from_the_state_and_a_fresh_one(tmp_path):
    network = segmenter().eval()
    images = torch.rand(1, 3, 64, 64)
    twin = network.fresh().eval()
    assert not torch.equal(twin(images), network(images))
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(images), network(images))


def test_padding_does_not_move_the_picture():
    network = segmenter().eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        whole, part = network(images), network(images[..., :40, :])
    assert part.shape[-2:] == (40, 64)
    assert (whole[..., :8, :] - part[..., :8, :]).abs().mean() < whole.std()


def test_losses_leave_void_out():
    network = segmenter().eval()
    images, targets = torch.rand(2, 3, 64, 64), torch.randint(3, (2, 64, 64))
    targets[:, 20:] = VOID
    batch = Batch(images, targets, torch.arange(2))
    logits = network(images)
    known = targets != VOID
    rows = logits.movedim(1, -1)[known]
    expected = F.cross_entropy(rows.double(), targets[known])
    torch.testing.assert_close(network.losses(batch)["ce"].double(), expected, rtol=1e-5, atol=0)
    soft = F.cross_entropy(logits, batch.labels(3))
    torch.testing.assert_close(soft.double(), expected, rtol=1e-5, atol=0)
    nothing = batch._replace(targets=torch.full_like(targets, VOID))
    assert network.losses(nothing)["ce"] == 0
    assert F.cross_entropy(logits, nothing.labels(3)) == 0


def test_freezing_keeps_the_encoder_and_its_batch_norm():
    network = segmenter()
    network.freeze("backbone")
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    network.train()
    network(torch.rand(2, 3, 64, 64)).mean().backward()
    assert all(torch.equal(v, before[k]) for k, v in network.encoder.state_dict().items())
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.head().parameters())


def test_what_cannot_be_built_is_told():
    with pytest.raises(ValueError, match="vit_tiny_patch16_224' is no pyramid"):
        segmenter(arch="vit_tiny_patch16_224")
    with pytest.raises(ValueError, match="nest_tiny' takes images of one size alone"):
        segmenter(arch="nest_tiny")
    with pytest.raises(ValueError, match=r'choose model.decoder="upernet"'):
        segmenter(arch="cifar_resnet8")
    with pytest.raises(ValueError, match="unknown decoder 'fpm': did you mean 'fpn'"):
        segmenter("fpm")
    with pytest.raises(ValueError, match=r"model.width=30 should be a multiple of 32"):
        Segmenter("resnet10t", 3, width=30)
