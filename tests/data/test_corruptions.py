"""Corruptions against their formulas, in loops or by other libraries; and what all have in common."""

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data.corruptions import CORRUPTIONS, SEVERITIES, STRENGTHS
from cohobate.data.draws import generator

DRAWN = ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog")


def pictures(size, count=3):
    """Discs of some colours on slopes of others, without noise."""
    line = torch.linspace(0, 1, size)
    images = []
    for number in range(count):
        x, y = line, line[:, None]
        disc = ((x - 0.3 - 0.2 * number) ** 2 + (y - 0.5) ** 2 < 0.06).float()
        slope = torch.stack([0.2 + 0.5 * x + 0 * y, 0.7 - 0.5 * y + 0 * x, (x + y) / 3])
        colour = torch.tensor([0.9, 0.2 * number, 0.1]).view(3, 1, 1)
        images.append(disc * colour + (1 - disc) * slope)
    return torch.stack(images)


def corrupt(name, images, severity, seed=0):
    return CORRUPTIONS[name](images, severity, torch.arange(len(images)), seed)


@pytest.mark.parametrize("size", [32, 48, 64, 96, 224])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_is_a_larger_change(name, size):
    images = pictures(size)
    found = [corrupt(name, images, severity) for severity in SEVERITIES]
    for each in found:
        assert each.shape == images.shape
        assert each.dtype == torch.float32
        assert 0 <= each.min() <= each.max() <= 1
    changes = [float((each - images).square().mean()) for each in found]
    if name == "fog" and size > 64:  # of the last three, the published numbers change the clouds
        assert changes[0] < changes[1]
    elif name == "pixelate":  # the edges of its squares may lie well by chance: count them
        columns = [len(each[0, 0].unique(dim=1)[0]) for each in found]
        assert columns == [int(size * share) for share in STRENGTHS[name][size > 64]]
    else:
        assert changes == sorted(changes)
        assert changes[-1] > 1.5 * changes[0] > 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_by_its_id_and_the_seed_alone(name):
    images, ids = pictures(32, 4), torch.tensor([7, 3, 11, 70_000])
    found = CORRUPTIONS[name](images, 3, ids, 5)
    order = torch.tensor([2, 0, 3])
    assert torch.equal(CORRUPTIONS[name](images[order], 3, ids[order], 5), found[order])
    copies = images[:1].repeat(2, 1, 1, 1)
    first, second = CORRUPTIONS[name](copies, 3, torch.tensor([1, 2]), 0)
    assert torch.equal(first, second) == (name not in DRAWN)
    other = CORRUPTIONS[name](images, 3, ids, 6)
    assert torch.equal(found, other) == (name not in DRAWN)
    assert torch.equal(images, pictures(32, 4))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [8, 28])
def test_small_images_pass(name, size):
    assert corrupt(name, pictures(size), 5).isfinite().all()


def test_gaussian_noise_is_normal():
    grey = torch.full((1, 3, 100, 100), 0.5)
    for place, severity in enumerate(SEVERITIES):
        noise = corrupt("gaussian_noise", grey, severity).double() - 0.5
        deviation = STRENGTHS["gaussian_noise"][1][place]
        drawn = torch.randn(3, 100, 100, generator=generator(0, 0)).double()
        torch.testing.assert_close(
            noise[0], (deviation * drawn).clamp(-0.5, 0.5), atol=1e-6, rtol=0
        )
    assert abs(drawn.mean()) < 0.02
    assert drawn.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("severity", "grains"), [(1, 500), (5, 50)])
def test_shot_noise_counts_grains(severity, grains):
    grey = torch.full((20, 3, 32, 32), 0.4)
    counts = corrupt("shot_noise", grey, severity) * grains
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    assert counts.mean() == pytest.approx(0.4 * grains, rel=0.01)
    assert counts.var() == pytest.approx(0.4 * grains, rel=0.05)  # of a Poisson variable
    assert not corrupt("shot_noise", 0 * grey, severity).any()


def test_impulse_noise_is_salt_and_pepper():
    grey = torch.full((40, 3, 32, 32), 0.4)
    before = torch.zeros_like(grey, dtype=torch.bool)
    for severity, share in zip(SEVERITIES, STRENGTHS["impulse_noise"][0]):
        found = corrupt("impulse_noise", grey, severity)
        assert set(found.unique().tolist()) == {0, grey[0, 0, 0, 0].item(), 1}
        for value in (0, 1):
            assert (found == value).float().mean() == pytest.approx(share / 2, rel=0.1)
        changed = found != grey
        assert (changed | ~before).all()  # what was hit stays hit
        before = changed


def test_defocus_of_small_images_is_a_mean_of_neighbours():
    images = pictures(32)
    neighbours = {
        4: [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)],
        5: [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)],
    }
    for severity, steps in neighbours.items():
        found = corrupt("defocus_blur", images, severity)
        mean = sum(images.roll(step, (2, 3)) for step in steps) / len(steps)
        inner = (..., slice(2, -2), slice(2, -2))
        torch.testing.assert_close(found[inner], mean[inner], atol=2e-3, rtol=0)


def test_defocus_of_an_image_of_one_colour_is_nothing():
    grey = torch.full((1, 3, 224, 224), 0.3)
    torch.testing.assert_close(corrupt("defocus_blur", grey, 5), grey)
    torch.testing.assert_close(corrupt("motion_blur", grey, 5), grey)


def test_defocus_spreads_a_point_over_a_disc():
    point = torch.zeros(1, 3, 224, 224)
    point[..., 112, 112] = 1
    found = corrupt("defocus_blur", point, 5)[0, 0]
    radius = STRENGTHS["defocus_blur"][1][4][0]
    area = sum(i * i + j * j <= radius**2 for i in range(-10, 11) for j in range(-10, 11))
    assert found.sum() == pytest.approx(1, abs=1e-4)
    assert found[112, 112] == pytest.approx(1 / area, rel=1e-3)
    assert not found[112, 112 + radius + 3 :].any()


def test_motion_blur_spreads_a_point_along_a_line():
    points = torch.zeros(30, 3, 33, 33)
    points[..., 16, 16] = 1
    found = corrupt("motion_blur", points, 5)[:, 0].double()
    line = torch.arange(33.0).double() - 16
    angles = []
    for image in found:
        assert image.sum() == pytest.approx(1, abs=0.02)
        x, y = (image.sum(0) * line).sum(), (image.sum(1) * line).sum()
        along = torch.tensor([x, y]) / (x**2 + y**2) ** 0.5
        places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        across = places @ torch.tensor([-along[1], along[0]])
        assert (image * across**2).sum() < 0.3  # narrow: within a pixel of the line
        weights = [2.718281828 ** (-((i * 32 / 33) ** 2) / 2 / 2.5**2) for i in range(19)]
        mean = sum(i * w for i, w in enumerate(weights)) / sum(weights)
        assert (x**2 + y**2) ** 0.5 == pytest.approx(mean, rel=0.1)
        assert abs(x) > abs(y) * 0.9  # no steeper than 45 degrees
        angles.append(float(y / x))
    assert min(angles) < -0.3
    assert max(angles) > 0.3


def test_fog_lightens_what_is_dark_and_keeps_the_lightest():
    dark = torch.full((6, 3, 32, 32), 0.1)
    dark[..., 0, 0] = 0.8
    for severity, (thickness, _) in zip(SEVERITIES, STRENGTHS["fog"][0]):
        found = corrupt("fog", dark, severity)[..., 1:, 1:]
        # From no cloud to the thickest: (x + thickness * cloud) * max / (max + thickness).
        low, high = ((0.1 + thickness * cloud) * 0.8 / (0.8 + thickness) for cloud in (0, 1))
        assert found.amin() == pytest.approx(low, abs=0.02)
        assert found.amax() == pytest.approx(high, abs=0.02)
        assert torch.equal(found[:, 0], found[:, 2])  # clouds are white


def test_brightness_raises_the_value_of_each_pixel():
    images = pictures(32)
    images[0, :, 0, 0] = 0
    for severity, amount in zip(SEVERITIES, STRENGTHS["brightness"][0]):
        found = corrupt("brightness", images, severity)
        for row in range(0, 32, 5):
            for column in range(0, 32, 5):
                h, s, v = colorsys.rgb_to_hsv(*images[0, :, row, column].tolist())
                expected = colorsys.hsv_to_rgb(h, s, min(v + amount, 1))
                assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_contrast_draws_towards_the_mean():
    images = pictures(32)
    for severity, left in zip(SEVERITIES, STRENGTHS["contrast"][0]):
        mean = images.numpy().mean((2, 3), keepdims=True)
        expected = left * images.numpy() + (1 - left) * mean
        assert np.allclose(corrupt("contrast", images, severity).numpy(), expected, atol=1e-5)


def test_pixelate_makes_squares_of_their_mean():
    images = pictures(200)  # 0.25 of it are squares of four pixels
    found = corrupt("pixelate", images, 5)
    for row in range(0, 200, 4):
        for column in range(0, 200, 44):
            square = (..., slice(row, row + 4), slice(column, column + 4))
            mean = images[square].mean((2, 3), keepdim=True).expand(-1, -1, 4, 4)
            torch.testing.assert_close(found[square], mean)


def test_pixelate_is_near_what_pillow_does():
    images = pictures(32)
    found = corrupt("pixelate", images, 5)[0]
    pixels = (255 * images[0]).round().byte().permute(1, 2, 0).numpy()
    small = Image.fromarray(pixels).resize((20, 20), Image.Resampling.BOX)
    large = np.asarray(small.resize((32, 32), Image.Resampling.BOX)) / 255
    assert abs(found.permute(1, 2, 0).numpy() - large).mean() < 0.01


@pytest.mark.parametrize(("size", "severity", "quality"), [(32, 5, 40), (96, 1, 25)])
def test_jpeg_is_what_pillow_stores(size, severity, quality):
    images = pictures(size)
    file = BytesIO()
    pixels = (255 * images[1]).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file)) / 255
    found = corrupt("jpeg_compression", images, severity)[1].permute(1, 2, 0).numpy()
    assert abs(found - expected).mean() < 0.005


def test_the_blur_is_about_as_wide_in_proportion():
    """Of two sizes with the same parameters, the larger image is as blurred when it is made small."""
    images = pictures(224)
    small = torch.nn.functional.interpolate(images, scale_factor=0.5, mode="area")
    ours = torch.nn.functional.interpolate(
        corrupt("defocus_blur", images, 4), scale_factor=0.5, mode="area"
    )
    blurred = corrupt("defocus_blur", small, 4)
    assert (ours - blurred).abs().mean() < 0.1 * (blurred - small).abs().mean()
