"""The published corrupted sets, from small copies in their form."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data.corrupted import CIFAR, Corrupted


@pytest.fixture
def cifar(tmp_path):
    """Two corruptions of six images of 32 pixels, three classes: 30 images each."""
    random = np.random.default_rng(0)
    labels = np.tile(np.array([0, 1, 2, 2, 1, 0], dtype=np.uint8), 5)
    np.save(tmp_path / "labels.npy", labels)
    found = {}
    for name in ("fog", "contrast"):
        found[name] = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
        np.save(tmp_path / f"{name}.npy", found[name])
    return tmp_path, found


@pytest.fixture
def imagenet(tmp_path):
    """A corruption of two classes, whose images tell class, severity and number by their colour."""
    for severity in range(1, 6):
        for number, name in enumerate(("n01", "n02")):
            folder = tmp_path / "fog" / str(severity) / name
            folder.mkdir(parents=True)
            for place in range(2):
                colour = (100 * number, 40 * severity, 200 * place)
                Image.new("RGB", (224, 224), colour).save(
                    folder / f"ILSVRC2012_val_{place}.JPEG", quality=95
                )
    return tmp_path


def test_a_severity_is_its_fifth_of_the_array(cifar):
    root, arrays = cifar
    found = Corrupted(root, "abc", 32)
    assert found.names == ["contrast", "fog"]
    for severity in range(1, 6):
        split = found.split("fog", severity)
        expected = arrays["fog"][6 * severity - 6 : 6 * severity]
        assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), expected)
        assert split.targets.tolist() == [0, 1, 2, 2, 1, 0]


def test_the_classes_of_the_network_are_those_of_cifar_in_their_order(cifar):
    names = CIFAR[10].split()
    assert Corrupted(cifar[0], names, 32).notes == []
    assert Corrupted(cifar[0], [name.title() for name in names], 32).notes == []
    (said,) = Corrupted(cifar[0], "0123456789", 32).notes
    assert "its labels are numbers, taken for those of the network's classes" in said
    with pytest.raises(
        ValueError, match=r"CIFAR-10, whose number 1 is 'automobile', and .* 'bird'"
    ):
        Corrupted(cifar[0], [names[0], *names[2:], "monkey"], 32)
    hundred = [f"class {number}" for number in range(100)]
    with pytest.raises(ValueError, match=r"CIFAR-100, whose number 0 is 'apple', and .* 'class 0'"):
        Corrupted(cifar[0], hundred, 32)


def test_images_are_served_at_the_size_of_the_network(cifar):
    split = Corrupted(cifar[0], "abc", 16).split("fog", 1)
    assert split.images.shape == (6, 3, 16, 16)
    assert split.images.dtype == torch.uint8


@pytest.mark.parametrize("size", [64, 224])
def test_class_folders_are_read_by_their_names(imagenet, size):
    found = Corrupted(imagenet, ["n00", "n01", "n02"], size)
    assert found.names == ["fog"]
    split = found.split("fog", 3)
    assert split.targets.tolist() == [1, 1, 2, 2]
    if size == 224:
        assert [path.name[-6:] for path in split.images] == ["0.JPEG", "1.JPEG"] * 2
    else:
        colours = split.images.float().mean((2, 3))
        expected = torch.tensor([[0, 120, 0], [0, 120, 200], [100, 120, 0], [100, 120, 200.0]])
        torch.testing.assert_close(colours, expected, atol=3, rtol=0)


@pytest.mark.parametrize("severity", [1, 4])
def test_a_severity_that_is_missing_is_told_before_any_is_read(imagenet, severity):
    shutil.rmtree(imagenet / "fog" / str(severity))
    with pytest.raises(ValueError, match=rf"fog/{severity} is missing: it should hold"):
        Corrupted(imagenet, ["n00", "n01", "n02"], 64)


def test_what_is_no_such_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder: it should hold"):
        Corrupted(tmp_path / "nowhere", "ab", 32)
    with pytest.raises(ValueError, match="holds no corruptions: it should hold"):
        Corrupted(tmp_path, "ab", 32)


DAMAGE = {
    "other classes": (lambda r: None, "tells of 3 classes, and the network knows 4", "abcd"),
    "other labels": (
        lambda r: np.save(r / "labels.npy", np.zeros(7, np.uint8)),
        "30 images and .*labels.npy 7 labels",
        "abc",
    ),
    "no fifths": (
        lambda r: (
            np.save(r / "labels.npy", np.arange(7) % 3),
            np.save(r / "fog.npy", np.zeros((7, 32, 32, 3), np.uint8)),
        ),
        "five times as many",
        "abc",
    ),
    "no images": (
        lambda r: np.save(r / "fog.npy", np.zeros((30, 32, 32))),
        "float64 .* but should hold images",
        "abc",
    ),
    "no array": (lambda r: (r / "fog.npy").write_bytes(b"PK"), "cannot be read as .npy", "abc"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_array_is_named(cifar, damage):
    change, words, classes = DAMAGE[damage]
    change(cifar[0])
    with pytest.raises(ValueError, match=words):
        Corrupted(cifar[0], classes, 32).split("fog", 1)


def test_a_class_that_the_network_does_not_know_is_named(imagenet):
    with pytest.raises(ValueError, match="n02 is of none of the network's classes: n01, n03"):
        Corrupted(imagenet, ["n01", "n03"], 224).split("fog", 1)
    for severity in range(1, 6):
        (imagenet / "contrast" / str(severity)).mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no images"):
        Corrupted(imagenet, ["n01", "n02"], 224).split("contrast", 1)
