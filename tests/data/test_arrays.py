import numpy as np
import pytest
import torch

from cohobate.data.classification import load

RNG = np.random.default_rng(0)


def images(count, *shape):
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture
def npz(tmp_path):
    """Writes train.npz and test.npz, good ones but for what is given; None leaves an array out."""

    def write(train=(), test=(), **more):
        for split, changed in {"train": train, "test": test, **more}.items():
            count = 40 if split == "train" else 20
            arrays = {"images": images(count, 28, 28, 3), "labels": np.arange(count) % 4}
            arrays = {**arrays, **dict(changed)}
            kept = {key: value for key, value in arrays.items() if value is not None}
            np.savez(tmp_path / f"{split}.npz", **kept)
        return tmp_path

    return write


def test_reads_arrays(npz):
    pixels = images(40, 28, 28, 3)
    data = load("npz", root=npz({"images": pixels, "classes": np.array(list("abcd"))}), val=0)
    assert data.classes == ("a", "b", "c", "d")
    assert (data.size, data.channels, data.augment) == (28, 3, ("crop", "flip"))
    assert torch.equal(data.train.images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert data.train.targets.tolist() == [0, 1, 2, 3] * 10
    assert data.val is None
    assert len(data.test) == 20
    np.testing.assert_allclose(data.mean, pixels.mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(data.std, pixels.std((0, 1, 2)) / 255)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_grey_arrays_are_replicated(npz, shape):
    pixels = images(40, *shape)
    root = npz({"images": pixels}, {"images": images(20, *shape)})
    data = load("npz", root=root, val=0)
    assert data.channels == 1
    assert data.train.images.shape == (40, 3, 28, 28)
    assert np.array_equal(data.train.images[:, 2].numpy(), pixels.reshape(40, 28, 28))
    assert len(set(data.mean)) == 1


def test_transparent_arrays_lie_over_white(npz):
    pixels = images(40, 8, 8, 4)
    pixels[:20, ..., 3], pixels[20:, ..., 3] = 0, 255
    root = npz({"images": pixels}, {"images": images(20, 8, 8, 4)})
    served = load("npz", root=root, val=0).train.images
    assert (served[:20] == 255).all()
    assert np.array_equal(served[20:].permute(0, 2, 3, 1).numpy(), pixels[20:, ..., :3])


def test_labels_in_a_column_as_in_medmnist(npz):
    labels = (np.arange(40) % 4).astype(np.uint8)[:, None]
    data = load("npz", root=npz({"labels": labels}), val=0)
    assert data.train.targets.dtype == torch.int64
    assert data.train.targets.tolist() == labels[:, 0].tolist()
    assert data.classes == ("0", "1", "2", "3")


def test_own_validation_split_is_used_and_train_is_not_cut(npz):
    data = load("npz", root=npz(val={}), val=0.5)
    assert (len(data.train), len(data.val), len(data.test)) == (40, 20, 20)


def test_size_resizes_once(npz):
    data = load("npz", root=npz(), size=16)
    assert data.train.images.shape[1:] == data.test.images.shape[1:] == (3, 16, 16)
    assert data.train.images.dtype == torch.uint8


def test_oblong_arrays_are_served_by_their_central_square(npz):
    pixels = images(40, 28, 36, 3)
    data = load("npz", root=npz({"images": pixels}, {"images": images(20, 28, 36, 3)}), val=0)
    assert np.array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), pixels[:, :, 4:32])
    assert any("36×28" in note for note in data.notes)


LABELS = np.arange(40) % 4


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ({"images": None}, r"train\.npz has no array `images`"),
        ({"labels": None}, r"train\.npz has no array `labels`"),
        ({"images": images(40, 28, 28, 3) / 255}, r"`images` is float64 \(40, 28, 28, 3\) but"),
        ({"images": images(40, 3, 28, 28)}, r"`images` is uint8 \(40, 3, 28, 28\) but should be"),
        ({"images": images(40, 28)}, r"`images` is uint8 \(40, 28\) but should be"),
        ({"images": images(40, 0, 28, 3)}, r"is uint8 \(40, 0, 28, 3\) but .* H and W above 0"),
        ({"images": images(40, 28, 0)}, r"`images` is uint8 \(40, 28, 0\) but .* above 0"),
        ({"labels": LABELS.astype(float)}, r"`labels` is float64 \(40,\) but should be whole"),
        ({"labels": np.eye(40, 4, dtype=int)}, r"`labels` is int64 \(40, 4\) but should be"),
        ({"labels": LABELS[:-1]}, "holds 40 images and 39 labels"),
        ({"labels": LABELS - 1}, "labels are -1, 0, 1, 2 but should run from 0"),
        ({"labels": LABELS * 2}, "labels are 0, 2, 4, 6 but should run from 0 without a gap"),
        ({"labels": LABELS * 0}, "has 1 class: two or more"),
        ({"labels": LABELS + 1, "classes": list("abcd")}, "label 4 is out of range: with the 4"),
        ({"labels": LABELS - 1, "classes": list("abcd")}, "label -1 is out of range"),
        ({"classes": list("abca")}, r"train\.npz: `classes` names 'a' twice"),
        ({"classes": np.array([object()])}, r"train\.npz cannot be read as \.npz"),
    ],
)
def test_bad_arrays_are_refused(npz, train, sentence):
    with pytest.raises(ValueError, match=sentence):
        load("npz", root=npz(train))


def test_labels_of_test_must_be_classes_of_train(npz):
    with pytest.raises(ValueError, match=r"test\.npz: label 4 is out of range: .* 0 to 3"):
        load("npz", root=npz(test={"labels": np.arange(20) % 5}))


def test_splits_must_have_one_shape(npz):
    with pytest.raises(ValueError, match=r"\(3, 28, 28\) and \(3, 32, 32\): make them the same"):
        load("npz", root=npz(test={"images": images(20, 32, 32, 3)}))


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut off"])
def test_damaged_archive_is_named(npz, content):
    root = npz()
    (root / "test.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"test\.npz cannot be read as \.npz"):
        load("npz", root=root)


def test_missing_files_are_named(npz):
    root = npz()
    (root / "test.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.npz is missing: it should hold train\.npz"):
        load("npz", root=root)
    with pytest.raises(FileNotFoundError, match=r"data\.root=.*nowhere is not a folder"):
        load("npz", root=root / "nowhere")
    with pytest.raises(ValueError, match=r"data\.name=npz needs data\.root"):
        load("npz")


def test_cifar100(measured_data):
    data = load("npz", root=measured_data / "cifar100", val=0.1)
    assert (len(data.train), len(data.val), len(data.test)) == (45_000, 5_000, 10_000)
    assert data.classes[:2] == ("apple", "aquarium_fish")
    assert (data.size, data.channels, len(data.classes)) == (32, 3, 100)
    assert torch.bincount(data.val.targets).unique().tolist() == [50]
    assert data.mean == pytest.approx((0.5071, 0.4865, 0.4409), abs=0.002)
    assert data.std == pytest.approx((0.2673, 0.2564, 0.2762), abs=0.002)
