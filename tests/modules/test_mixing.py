"""Mixtures: how many rows are mixed, with whom, how much, and that the same draw gives the same."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cohobate.core import shrunk
from cohobate.modules.mixing import (
    MIXINGS,
    CutMix,
    FMix,
    ManifoldMixing,
    Mixup,
    ResizeMix,
    check_rows,
)

KINDS = [*MIXINGS.values(), ManifoldMixing]
EVERY = [kind(per=per) for kind, per in product(KINDS, ("batch", "sample"))]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(rows: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.zeros(rows, 3, height, width)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(1, 70), st.floats(0, 1), st.sampled_from(["batch", "sample"]), st.integers(0, 99)
)
def test_share_of_the_rows_is_exact(rows, share, per, seed):
    mix = Mixup(alpha=5, share=share, per=per).draw(images(rows), generator=generator(seed))
    mixed = int((mix.weight < 1).sum())
    assert abs(mixed - share * rows) <= 0.5 + 1e-9
    assert ((mix.weight > 0) & (mix.weight <= 1)).all()


@pytest.mark.parametrize("kind", [CutMix, FMix, ResizeMix])
@pytest.mark.parametrize(
    "rows, share, mixed", [(64, 0.1, 6), (10, 0.25, 2), (3, 0.5, 2), (8, 1, 8)]
)
def test_share_of_the_rows_that_are_cut(kind, rows, share, mixed):
    mix = kind(alpha=20, share=share).draw(images(rows, 32, 32), generator=generator())
    assert int((mix.weight < 1).sum()) == mixed
    assert torch.equal((mix.mask == 0).any(3).any(2).any(1), mix.weight < 1)


@pytest.mark.parametrize("kind", [Mixup, CutMix])
@pytest.mark.parametrize("share, mixed", [(0.1, 0.408), (0.5, 0.604), (0.05, 0.389), (1.0, 1.0)])
def test_released_code_mixes_more_than_it_says(kind, share, mixed):
    """int((1 - share) B) rows drawn with replacement leave (1 - 1/B)^int((1 - share) B) mixed."""
    assert mixed == pytest.approx((1 - 1 / 64) ** int((1 - share) * 64), abs=5e-4)
    mixing, draw = kind(alpha=20, share=share, variant="released"), generator()
    counts = [
        (mixing.draw(images(64, 32, 32), generator=draw).weight < 1).float().mean().item()
        for _ in range(300)
    ]
    assert np.mean(counts) == pytest.approx(mixed, abs=0.01)


def test_released_code_keeps_a_tenth_of_ten_rows():
    """1 - 0.9 is a little less than 0.1, and of ten rows still leaves one alone."""
    mixing = Mixup(alpha=5, share=0.9, variant="released")
    assert int((mixing.draw(images(10), generator=generator()).weight == 1).sum()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share, least", [(0.1, 6), (0.25, 3), (0.5, 2), (1.0, 2), (0.01, 51)])
def test_a_batch_of_which_no_row_is_mixed_is_refused(kind, share, least):
    mixing = kind(share=share, alpha=20)
    with pytest.raises(ValueError, match=f"share={share:g}: .* batches of {least} or more"):
        check_rows(mixing, least - 1)
    check_rows(mixing, least)
    mixed = mixing.draw(images(least, 64, 64), generator=generator()).weight < 1
    assert mixed.any()
    check_rows(kind(share=0), 1)


def test_released_code_may_mix_a_row_with_itself():
    draw, rows = generator(), torch.arange(16)
    released, paper = (
        [Mixup(variant=variant).draw(images(16), generator=draw).partner for _ in range(200)]
        for variant in ("released", "paper")
    )
    assert all(torch.equal(partner.sort().values, rows) for partner in released)
    selves = np.mean([(partner == rows).sum().item() for partner in released])
    assert selves == pytest.approx(1, abs=0.3)  # the fixed points of a random permutation
    assert not any((partner == rows).any() for partner in paper)


def test_every_row_is_mixed_equally_often():
    draw, mixing = generator(), Mixup(alpha=5, share=0.25)
    times = sum((mixing.draw(images(8), generator=draw).weight < 1).int() for _ in range(800))
    assert stats.chisquare(times.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
def test_one_weight_a_batch_or_one_a_sample(mixing):
    weight = mixing.draw(images(16, 64, 64), generator=generator(1)).weight
    assert weight.shape == (16,)
    assert weight.dtype == torch.float32
    assert len(weight.unique()) == 1 if mixing.per == "batch" else len(weight.unique()) > 8


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.4, 1.0, 8.0])
def test_weights_are_drawn_from_a_beta_distribution(alpha):
    mixing = Mixup(alpha=alpha, per="sample")
    weight = mixing.draw(images(20_000, 1, 1), generator=generator()).weight.double()
    variance = 1 / (4 * (2 * alpha + 1))
    assert weight.mean().item() == pytest.approx(0.5, abs=5 * (variance / 20_000) ** 0.5)
    assert weight.var().item() == pytest.approx(variance, rel=0.04)
    if alpha >= 0.4:  # below, float32 rounds much of the mass to 1
        assert stats.kstest(weight.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_weight_of_a_batch_is_drawn_from_a_beta_distribution():
    draw, mixing = generator(), Mixup(alpha=0.4)
    weights = [mixing.draw(images(2), generator=draw).weight[0].item() for _ in range(2000)]
    assert stats.kstest(weights, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [1e-3, 1e-2])
def test_tiny_alpha_gives_one_image_or_the_other(alpha):
    weight = Mixup(alpha=alpha, per="sample").draw(images(4000, 1, 1), generator=generator()).weight
    between = ((weight > 0.01) & (weight < 0.99)).float().mean().item()
    expected = np.diff(stats.beta(alpha, alpha).cdf([0.01, 0.99])).item()
    assert between == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_partners_are_a_permutation(mixing, rows):
    mix = mixing.draw(images(rows), generator=generator())
    assert mix.partner.dtype == torch.int64
    assert sorted(mix.partner.tolist()) == list(range(rows))


def test_every_cycle_of_partners_is_as_likely_and_nobody_meets_itself():
    draw, mixing = generator(), Mixup()
    drawn = [tuple(mixing.draw(images(4), generator=draw).partner.tolist()) for _ in range(1200)]
    counts = [drawn.count(p) for p in sorted(set(drawn))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def same(first, second) -> bool:
    return all(a is b or torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
def test_a_generator_decides_and_leaves_the_global_one_alone(mixing):
    before = torch.get_rng_state()
    first, again, other = (mixing.draw(images(9), generator=generator(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
def test_the_global_generator_decides_otherwise(mixing):
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(mixing.draw(images(9)))
    assert same(draws[0], draws[1])
    assert not same(draws[0], draws[2])


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
def test_blocks_are_mixed_alike_within_themselves(mixing):
    alone = mixing.draw(images(5), generator=generator())
    three = mixing.draw(images(15), blocks=3, generator=generator())
    for k in range(3):
        rows = slice(5 * k, 5 * k + 5)
        assert torch.equal(three.partner[rows], alone.partner + 5 * k)
        assert torch.equal(three.weight[rows], alone.weight)
        for name in ("mask", "box", "layer"):
            if getattr(alone, name) is not None:
                assert torch.equal(getattr(three, name)[rows], getattr(alone, name))


@pytest.mark.parametrize("height, width", [(32, 32), (7, 20), (1, 1)])
@pytest.mark.parametrize("per", ["batch", "sample"])
def test_cutmix_cuts_one_box_and_weighs_by_its_true_area(height, width, per):
    draw = generator()
    for _ in range(50):
        mix = CutMix(per=per).draw(images(6, height, width), generator=draw)
        assert mix.mask.shape == (6, 1, height, width)
        for mask, weight in zip(mix.mask[:, 0], mix.weight):
            ys, xs = (mask == 0).nonzero(as_tuple=True)
            kept = int((mask == 1).sum())
            assert kept + len(ys) == height * width
            assert weight.item() == pytest.approx(kept / (height * width), abs=1e-6)
            if len(ys):  # the box is the whole of the rectangle that its corners span
                box = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
                assert (box == 0).all()


def box_of_the_paper(rng: np.random.Generator, alpha: float, height: int, width: int) -> list[int]:
    """`rand_bbox` as CutMix was released: a box around a uniform centre, clipped at the border."""
    side = np.sqrt(1 - rng.beta(alpha, alpha))
    half_y, half_x = int(height * side) // 2, int(width * side) // 2
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = np.clip([y - half_y, y + half_y], 0, height)
    left, right = np.clip([x - half_x, x + half_x], 0, width)
    return [top, bottom - top, left, right - left, (bottom - top) * (right - left)]


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix_draws_boxes_as_the_paper_does(alpha):
    height, width, count = 48, 24, 4000
    mixing = CutMix(alpha=alpha, per="sample")
    hole = mixing.draw(images(count, height, width), generator=generator()).mask[:, 0] == 0
    ys, xs = hole.any(2), hole.any(1)
    sizes = [ys.sum(1), xs.sum(1)]
    edges = [line.int().argmax(1) for line in (ys, xs)]
    ours = torch.stack([edges[0], sizes[0], edges[1], sizes[1], sizes[0] * sizes[1]]).numpy()
    rng = np.random.default_rng(0)
    theirs = np.array([box_of_the_paper(rng, alpha, height, width) for _ in range(count)]).T
    seen = [values[:, values[-1] > 0] for values in (ours, theirs)]
    assert abs(seen[0].shape[1] - seen[1].shape[1]) < 0.04 * count
    for mine, other in zip(*seen):
        assert stats.ks_2samp(mine, other).pvalue > 1e-3


@pytest.mark.parametrize("height, width", [(32, 32), (7, 20), (1, 1)])
@pytest.mark.parametrize("per", ["batch", "sample"])
def test_resizemix_pastes_the_whole_partner_and_weighs_by_its_area(height, width, per):
    draw, value = generator(), torch.rand(6, 3, height, width, generator=generator(1))
    for _ in range(30):
        mix = ResizeMix(per=per).draw(value, generator=draw)
        blended = mix.blend(value)
        for b, partner in enumerate(mix.partner.tolist()):
            left, top, wide, high = (mix.box[b].view(2, 2) * torch.tensor([width, height])).view(-1)
            ys = slice(round(top.item()), round((top + high).item()))
            xs = slice(round(left.item()), round((left + wide).item()))
            hole = torch.zeros(height, width)
            hole[ys, xs] = 1
            assert torch.equal(1 - hole, mix.mask[b, 0])
            assert hole.sum() >= 1
            assert mix.weight[b].item() == pytest.approx(1 - hole.mean().item(), abs=1e-6)
            assert torch.equal(blended[b][:, hole == 0], value[b][:, hole == 0])
            small = shrunk(value[partner][None], mix.box[b][None])[0]
            torch.testing.assert_close(blended[b][:, ys, xs], small[:, ys, xs])
            size = blended[b][:, ys, xs].shape[-2:]
            if all(whole % part == 0 for whole, part in zip((height, width), size)):
                means = torch.nn.functional.adaptive_avg_pool2d(value[partner], size)
                torch.testing.assert_close(blended[b][:, ys, xs], means)


def test_resizemix_draws_sides_and_places_evenly():
    mix = ResizeMix(per="sample").draw(images(5000, 100, 100), generator=generator())
    left, top, wide, high = mix.box.T.double()
    assert torch.equal(wide, high)
    assert 0.1 <= wide.min() < 0.11
    assert 0.78 < wide.max() <= 0.8
    assert stats.kstest(wide.numpy() + 0.005, stats.uniform(0.1, 0.7).cdf).pvalue > 1e-3
    for start in (left, top):
        place = (start * 100 + 0.5) / (100 - wide * 100 + 1)  # of all places that it could have
        assert stats.kstest(place.numpy(), stats.uniform.cdf).pvalue > 1e-3


@pytest.mark.parametrize("height, width", [(32, 32), (7, 20), (1, 1)])
@pytest.mark.parametrize("per", ["batch", "sample"])
def test_fmix_keeps_as_many_pixels_as_the_weight_says(height, width, per):
    pixels = height * width
    mixing = FMix(per=per)
    weights = Mixup(alpha=1.0, per=per).draw(images(6), generator=generator()).weight
    mix = mixing.draw(images(6, height, width), generator=generator())
    assert mix.mask.shape == (6, 1, height, width)
    assert set(mix.mask.unique().tolist()) <= {0.0, 1.0}
    kept = mix.mask.sum((1, 2, 3))
    assert kept.tolist() == (weights * pixels).round().tolist()
    torch.testing.assert_close(mix.weight, kept / pixels)
    assert (mix.mask == mix.mask[0]).all().item() == (per == "batch") or pixels == 1


def test_fmix_keeps_where_noise_of_low_frequencies_is_high():
    """The spectrum falls as the cube of the frequency: neighbours mostly share their side."""
    mix = FMix(alpha=8, per="sample").draw(images(200, 32, 32), generator=generator())
    mask = mix.mask[:, 0]
    across = (mask[:, :, 1:] != mask[:, :, :-1]).float().mean()
    down = (mask[:, 1:] != mask[:, :-1]).float().mean()
    assert 0.005 < across < 0.06
    assert across.item() == pytest.approx(down.item(), rel=0.2)
    often = mask.mean(0)  # and no place is kept more often than another
    assert often.std() < 0.06


def test_manifold_mixing_is_mixup_with_a_layer():
    mixing, draw = ManifoldMixing(alpha=0.7, share=0.5, per="sample", deepest=3), generator(5)
    mix = mixing.draw(images(8), generator=draw)
    plain = Mixup(alpha=0.7, share=0.5, per="sample").draw(images(8), generator=generator(5))
    assert same(mix[:2], plain[:2])
    assert mix.layer.shape == (8,)
    assert "manifold_mixup" not in MIXINGS


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
def test_every_view_is_mixed_alike(mixing):
    views = torch.rand(6, 4, 3, 8, 8, generator=generator())
    mix = mixing.draw(views, generator=generator(1))
    blended = mix.blend(views)
    for k in range(4):
        torch.testing.assert_close(blended[:, k], mix.blend(views[:, k]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("mixing", EVERY, ids=repr)
def test_draws_lie_where_the_images_do(mixing):
    mix = mixing.draw(torch.empty(6, 3, 8, 8, device="meta"))
    assert {value.device.type for value in mix if value is not None} == {"meta"}
