import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torchvision.datasets import cifar

from cohobate.data.classification import DATASETS, declared, load
from cohobate.data.named import Torchvision

FETCHED = sorted(name for name, facts in DATASETS.items() if isinstance(facts.read, Torchvision))


def test_digits():
    data = load("digits")
    assert (len(data.train), len(data.val), len(data.test)) == (1078, 120, 599)
    assert data.classes == tuple("0123456789")
    assert (data.size, data.channels, data.augment) == (32, 1, ("crop",))
    assert data.train.images.shape == (1078, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.max() == 255
    grey = data.train.images[:, 0].double() / 255
    assert data.mean == pytest.approx([grey.mean().item()] * 3)
    assert data.std == pytest.approx([grey.std(correction=0).item()] * 3)


def test_digits_test_set_is_the_same_for_every_seed_and_stratified():
    first, second = load("digits", seed=0), load("digits", seed=1)
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.val.images, second.val.images)
    counts = torch.bincount(first.test.targets)
    assert counts.min() >= 58
    assert counts.max() <= 61


def test_the_same_seed_gives_the_same_data():
    first, second = (load("digits", seed=3, fraction=0.5, per_class=8) for _ in range(2))
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.val.targets, second.val.targets)


def test_cuts_of_train():
    assert load("digits", val=0).val is None
    assert len(load("digits", val=0).train) == 1198
    assert len(load("digits", val=0, fraction=0.5).train) == 599
    few = load("digits", per_class=8)
    assert torch.bincount(few.train.targets).tolist() == [8] * 10
    assert (len(few.val), len(few.test)) == (120, 599)  # only train is cut


def test_size_overrides():
    assert load("digits", size=24).train.images.shape[2:] == (24, 24)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"val": 1.0}, r"data\.val=1\.0 should be a share of train"),
        ({"val": -0.1}, r"data\.val=-0\.1 should be"),
        ({"fraction": 0}, r"data\.fraction=0 should be a share"),
        ({"fraction": 1.5}, r"data\.fraction=1\.5 should be"),
        ({"per_class": 0}, r"data\.per_class=0 should be 1 or more"),
        ({"per_class": 500}, r"data\.per_class=500 is more than class '8' has: choose at most"),
        ({"size": 0}, r"data\.size=0 should be a number of pixels"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        load("digits", **options)


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'cifar_100': did you mean 'cifar100'\?.*folder.*npz"):
        load("cifar_100")


@pytest.mark.parametrize("name", FETCHED)
def test_missing_data_says_what_to_type(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root=tmp_path)
    sentence = str(caught.value)
    assert name in sentence
    assert f"data.root={tmp_path}" in sentence
    assert "data.download=true" in sentence
    assert "\n" not in sentence
    with pytest.raises(ValueError, match=rf"data\.name={name} needs data\.root"):
        load(name)


@pytest.mark.parametrize("name", FETCHED)
def test_download_without_network_is_one_sentence(name, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root=tmp_path, download=True)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} could not be downloaded to data.root={tmp_path}")
    assert "check the network" in sentence
    assert "\n" not in sentence


@pytest.fixture
def tiny_cifar10(tmp_path, monkeypatch):
    """CIFAR-10 as it lies on disk, with 20 images to a file; its checksums are not asked for."""
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    rng = np.random.default_rng(0)
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    files = [name for name, _ in cifar.CIFAR10.train_list + cifar.CIFAR10.test_list]
    for name in files:
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        entry = {"data": pixels, "labels": [row % 10 for row in range(20)]}
        (base / name).write_bytes(pickle.dumps(entry))
    names = {"label_names": [f"class {number}" for number in range(10)]}
    (base / "batches.meta").write_bytes(pickle.dumps(names))
    return tmp_path


def test_cifar10_is_read_as_it_lies(tiny_cifar10, monkeypatch):
    facts = dataclasses.replace(DATASETS["cifar10"], train=100, test=20)
    monkeypatch.setitem(DATASETS, "cifar10", facts)
    data = load("cifar10", root=tiny_cifar10, val=0)
    batch = pickle.loads((tiny_cifar10 / "cifar-10-batches-py/data_batch_2").read_bytes())
    assert np.array_equal(data.train.images[20:40].flatten(1).numpy(), batch["data"])
    assert data.train.targets[20:40].tolist() == batch["labels"]
    assert len(data.test) == 20
    assert data.classes[3] == "class 3"
    assert (data.size, data.channels, data.augment) == (32, 3, ("crop", "flip"))


def test_what_is_read_is_held_against_what_is_known(tiny_cifar10):
    with pytest.raises(ValueError, match="cifar10 has 50,000 training images but 100 were found"):
        load("cifar10", root=tiny_cifar10)


def test_declared_facts_are_consistent():
    for name, facts in DATASETS.items():
        if name not in ("folder", "npz"):
            assert None not in dataclasses.astuple(facts), name


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"folder", "npz"}))
def test_declared_set_is_as_large_as_the_real_one_and_takes_no_memory(name):
    data = declared(name)
    facts = DATASETS[name]
    assert (len(data.classes), data.size, len(data.train)) == (
        facts.classes,
        facts.size,
        facts.train,
    )
    assert data.train.images.untyped_storage().nbytes() <= 3
    assert set(data.train.targets.tolist()) == set(range(facts.classes))
    assert declared(name, 48).size == 48


def test_what_is_not_declared_has_to_be_read():
    for name in ("folder", "npz"):
        with pytest.raises(ValueError, match=f"data.name={name}: its classes and size are known"):
            declared(name)
    with pytest.raises(ValueError, match="did you mean 'cub200'"):
        declared("cub20")
