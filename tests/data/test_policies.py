"""Which operations are chosen, how often and how strongly: against torchvision's own tables."""

import pytest
import torch
from scipy import stats
from test_operations import alone, apart, pictures
from torchvision.transforms import v2

from cohobate.data.operations import KIND, OPERATIONS, operate
from cohobate.data.policies import (
    FOUND,
    GEOMETRY,
    AugMix,
    AutoAugment,
    RandAugment,
    TrivialAugment,
)

THEIRS = {"".join(word.title() for word in name.split("_")): name for name in OPERATIONS}
"""torchvision's names of the operations, and ours."""
SIZE = 32


def numbers(step, count: int) -> torch.Tensor:
    return torch.rand(count, step.draws, generator=torch.Generator().manual_seed(3))


def amount_of(space, name: str, bins: int, level: int, sign: float) -> float:
    magnitudes, signed = space[name]
    values = magnitudes(bins, SIZE, SIZE)
    if values is None:
        return 0.0
    return float(values[level]) * (-1 if signed and sign < 0.5 else 1)


def same(found: torch.Tensor, expected: list[torch.Tensor]) -> None:
    """Alike but for the rounding of nearest pixels, after one operation or two."""
    other = (apart(found, torch.stack(expected)) > 2).float().flatten(1).mean(1)
    assert (other < 0.05).float().mean() > 0.97
    assert other.mean() < 0.01


def test_autoaugment_is_the_policy_found_on_cifar_10():
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    step, images = AutoAugment(), pictures(200)
    draws, expected = numbers(step, 200), []
    for image, (chosen, *pair) in zip(images, draws.tolist()):
        policy = theirs._policies[int(chosen * 25)]
        for (name, chance, level), (done, sign) in zip(policy, (pair[:2], pair[2:])):
            if done < chance:
                amount = amount_of(theirs._AUGMENTATION_SPACE, name, 10, level or 0, sign)
                image = alone(THEIRS[name], image, amount)
        expected.append(image)
    same(step(images, draws), expected)
    assert len(FOUND) == 25


def test_randaugment_is_two_operations_of_torchvisions():
    theirs = v2.RandAugment()
    step, images = RandAugment(), pictures(200)
    names = list(theirs._AUGMENTATION_SPACE)
    assert [THEIRS[name] for name in names] == [*OPERATIONS[:-1]]
    draws, expected = numbers(step, 200), []
    for image, row in zip(images, draws.tolist()):
        for chosen, sign in (row[:2], row[2:]):
            name = names[int(chosen * 14)]
            amount = amount_of(theirs._AUGMENTATION_SPACE, name, 31, theirs.magnitude, sign)
            image = alone(THEIRS[name], image, amount)
        expected.append(image)
    assert theirs.num_ops == 2
    same(step(images, draws), expected)


def test_trivialaugment_is_one_operation_of_torchvisions():
    theirs = v2.TrivialAugmentWide()
    step, images = TrivialAugment(), pictures(400)
    names = list(theirs._AUGMENTATION_SPACE)
    assert [THEIRS[name] for name in names] == [*OPERATIONS[:-1]]
    draws, expected = numbers(step, 400), []
    for image, (chosen, level, sign) in zip(images, draws.tolist()):
        name = names[int(chosen * 14)]
        amount = amount_of(theirs._AUGMENTATION_SPACE, name, 31, int(level * 31), sign)
        expected.append(alone(THEIRS[name], image, amount))
    same(step(images, draws), expected)


def test_augmix_averages_the_image_with_its_chains():
    """Algorithm 1: chains of one to three operations, by Dirichlet weights, and the image by Beta."""
    step, images = AugMix(), pictures(40)
    draws = numbers(step, 40)
    found = step(images, draws)
    for row, image in enumerate(images):
        share, *rest = draws[row].tolist()
        exponentials = -torch.log1p(-torch.tensor(rest[:3], dtype=torch.float64))
        mixed = (1 - share) * image.double()
        for chain in range(3):
            changed = image[None]
            for number in range(int(rest[3 + chain] * 3) + 1):
                start = 6 + 9 * chain + 3 * number
                chosen, level, sign = rest[start : start + 3]
                kind = GEOMETRY[int(chosen * 9)]
                strength = 0.01 + 0.29 * level
                amount = {
                    **dict.fromkeys(("shear_x", "shear_y"), 0.3 * strength),
                    **dict.fromkeys(("translate_x", "translate_y"), SIZE / 3 * strength),
                    "rotate": 30 * strength,
                    "posterize": round(4 - 4 * strength),
                    "solarize": 1 - strength,
                }.get(OPERATIONS[kind], 0.0)
                if kind <= KIND["rotate"] and sign < 0.5:
                    amount = -amount
                changed = operate(changed, torch.tensor([kind]), torch.tensor([amount]))
            mixed += share * exponentials[chain] / exponentials.sum() * changed[0].double()
        assert (found[row].double() - mixed).abs().mean() < 0.6
        assert ((found[row].double() - mixed).abs() > 1).float().mean() < 0.02


def test_augmix_leaves_out_what_robustness_is_measured_by():
    names = {OPERATIONS[kind] for kind in GEOMETRY}
    assert len(names) == 9
    assert names.isdisjoint({"brightness", "color", "contrast", "sharpness", "invert", "identity"})


@pytest.mark.parametrize("kind", [RandAugment, TrivialAugment])
def test_every_operation_is_as_likely(kind):
    draws = numbers(kind(), 7000)
    counts = (draws[:, 0] * 14).long().bincount(minlength=14)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
