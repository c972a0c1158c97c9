import pytest
import torch
from scipy import stats

from cohobate.data.draws import generator, uniform

IDS = torch.arange(20_000)


def draw(seed=0, epoch=0, view=0, ids=IDS, count=3):
    return uniform(seed, epoch, ids, view, count)


def test_range_and_type():
    draws = draw()
    assert draws.shape == (len(IDS), 3)
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1


def test_depends_on_the_id_and_not_on_its_place():
    ids = torch.tensor([7, 19_999, 7, 0])
    torch.testing.assert_close(draw(ids=ids), draw()[ids], rtol=0, atol=0)


def test_ids_may_have_any_shape():
    assert torch.equal(draw(ids=IDS.view(2, 100, 100)), draw().view(2, 100, 100, 3))


def test_more_columns_leave_the_first_ones_alone():
    assert torch.equal(draw(count=22)[:, :3], draw(count=3))


def test_bits_are_the_same_everywhere_and_always():
    """Published runs rest on these numbers; a change of the hash must not go unseen."""
    numbers = uniform(1, 2, torch.tensor([0, 1, 1_281_166]), 3, 2) * 2**24
    assert numbers.long().tolist() == [[3407336, 8420813], [3141566, 920094], [4205901, 13974845]]


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"view": 1}, {"ids": IDS + 1}])
def test_neighbours_are_independent(other):
    first, second = draw(), draw(**other)
    bound = 4.5 / len(IDS) ** 0.5  # 4.5 standard deviations of a correlation of independent columns
    for column in range(3):
        table = torch.stack([first[:, column], *second.unbind(1)])
        assert torch.corrcoef(table)[0, 1:].abs().max() < bound


def test_columns_are_independent():
    off_diagonal = torch.corrcoef(draw(count=8).T) - torch.eye(8)
    assert off_diagonal.abs().max() < 4.5 / len(IDS) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 2**40, -5])
@pytest.mark.parametrize("epoch", [0, 199])
def test_uniform_in_one_and_two_dimensions(seed, epoch):
    draws = draw(seed=seed, epoch=epoch).double()
    cells = (draws * 16).long()
    assert stats.chisquare(torch.bincount(cells[:, 0], minlength=16)).pvalue > 1e-4
    pairs = torch.bincount(cells[:, 0] * 16 + cells[:, 1], minlength=256)
    assert stats.chisquare(pairs).pvalue > 1e-4
    neighbours = torch.bincount(cells[:-1, 0] * 16 + cells[1:, 0], minlength=256)
    assert stats.chisquare(neighbours).pvalue > 1e-4


def test_low_bits_are_uniform():
    low = (draw() * 2**24).long() % 16
    assert stats.chisquare(torch.bincount(low.flatten(), minlength=16)).pvalue > 1e-4


def test_seeds_that_share_their_low_word_differ():
    assert not torch.equal(draw(seed=5), draw(seed=5 + 2**32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_bits_on_a_gpu():
    assert torch.equal(draw(ids=IDS.cuda(), count=22).cpu(), draw(count=22))


def test_generators_differ_by_any_number():
    streams = [torch.rand(4, generator=generator(*n)) for n in [(0,), (1,), (0, 0), (0, 1), (1, 0)]]
    assert len({tuple(stream.tolist()) for stream in streams}) == 5
    assert torch.equal(torch.rand(4, generator=generator(0, 1)), streams[3])
