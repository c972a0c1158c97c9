"""Linear evaluation of a trained network on other data, through the command line."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cohobate.config import DataConfig, RunConfig
from cohobate.data.splits import Split
from cohobate.linear import features, linear, nearest
from cohobate.models import Classifier


@pytest.fixture
def other(tmp_path):
    """Three classes of noise around three colours, of another size than the digits."""
    random = np.random.default_rng(0)
    for name, count in (("train", 90), ("test", 30)):
        labels = np.arange(count) % 3
        images = random.integers(0, 60, (count, 24, 24, 3))
        images[np.arange(count), :, :, labels] += 120
        np.savez(tmp_path / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    return ("data.name=npz", f"data.root={tmp_path}")


@pytest.fixture
def trained(smoke, tmp_path):
    assert smoke(tmp_path / "run", "data.per_class=8", "data.batch_size=16").code == 0
    return tmp_path / "run"


def test_a_table_of_both_scores(cohobate, trained, other):
    before = (trained / "model.safetensors").read_bytes()
    ran = cohobate("transfer", "linear", trained, *other, "optim.epochs=40")
    assert ran.code == 0, ran.err
    heading, row = ran.out.splitlines()
    assert heading.split("  ")[0] == "data"
    assert "linear top1" in heading
    assert "20-NN top1" in heading
    name, train, test, *scores = row.split()
    assert (name, train, test) == ("npz", "90", "30")
    assert [float(score) for score in scores if score != "%"] == [100.0, 100.0]
    assert (trained / "model.safetensors").read_bytes() == before


def test_the_same_settings_give_the_same_scores(trained, other):
    scores = [linear(trained, [*other, "optim.epochs=2", "seed=3"]) for _ in range(2)]
    assert scores[0] == scores[1]


def test_a_checkpoint_of_timm(cohobate, tmp_path, other):
    net = Classifier("resnet10t", 7, size=32).net
    timm.models.save_for_hf(net, str(tmp_path / "net"), safe_serialization=True)
    ran = cohobate("transfer", "linear", tmp_path / "net", *other, "optim.epochs=1", "data.size=32")
    assert ran.code == 0, ran.err
    assert "npz" in ran.out


def test_photographs_are_cut_as_the_network_is_used_to(tmp_path):
    """The border is white, and the network looks at what lies well within it."""
    network = Classifier("cifar_resnet8", 3, size=32)
    photograph = np.full((200, 200, 3), 255, np.uint8)
    photograph[40:160, 40:160] = 100
    Image.fromarray(photograph).save(tmp_path / "one.png")
    network.net.pretrained_cfg["crop_pct"] = 0.5
    config, target = RunConfig(data=DataConfig(workers=0)), torch.tensor([0])
    found, _ = features(network, Split([tmp_path / "one.png"], target), config, 32)
    grey = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    expected, _ = features(network, Split(grey, target), config, 32)
    torch.testing.assert_close(found, expected)


def test_neighbours_vote_by_angle():
    train = torch.tensor([[1.0, 0.0], [5.0, 0.1], [0.0, 1.0], [0.1, 9.0], [0.0, 2.0]])
    targets = torch.tensor([0, 0, 1, 1, 1])
    assert nearest(train, targets, torch.tensor([[0.0, 100.0]]), torch.tensor([1])) == 1.0
    many = torch.cat([train[:1].repeat(30, 1), train[2:3].repeat(30, 1)])
    classes = torch.tensor([0] * 30 + [1] * 30)
    tests = torch.tensor([[9.0, 1.0], [1.0, 9.0], [9.0, 2.0]])
    found = nearest(many, classes, tests, torch.tensor([0, 1, 1]))
    assert found == pytest.approx(2 / 3)


MISTAKES = {
    "no data": ([], ["data.name=NAME", "data.root=FOLDER"]),
    "data set": (["data.name=stl11"], ["stl11", "did you mean 'stl10'"]),
    "root": (["data.name=stl10", "data.root=nowhere"], ["nowhere"]),
    "method": (["data.name=digits", "method.name=kd"], ["method.name", "stays as it is"]),
    "augment": (["data.name=digits", "data.augment=['flip']"], ["data.augment"]),
    "epochs": (["data.name=digits", "optim.epochs=0"], ["optim.epochs=0"]),
    "setting": (["data.name=digits", "optim.epoch=3"], ["did you mean 'epochs'"]),
    "no setting": (["data.name=digits", "epochs"], ["takes no epochs"]),
    "whole table": (["data=3"], ["data=3"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(cohobate, tmp_path, mistake):
    settings, words = MISTAKES[mistake]
    net = Classifier("cifar_resnet8", 7).net
    timm.models.save_for_hf(net, str(tmp_path / "net"), safe_serialization=True)
    ran = cohobate("transfer", "linear", tmp_path / "net", *settings)
    assert ran.code == 2
    assert ran.err.startswith("cohobate: ")
    assert "Traceback" not in ran.err
    assert [word for word in words if word not in ran.err] == []


def test_what_is_no_network(cohobate, tmp_path):
    ran = cohobate("transfer", "linear", tmp_path, "data.name=digits")
    assert ran.code == 2
    assert "holds no trained network" in ran.err


def test_a_checkpoint_file_is_the_network_that_its_folder_holds(cohobate, tmp_path, other):
    net = Classifier("resnet10t", 7, size=32).net
    timm.models.save_for_hf(net, str(tmp_path / "net"), safe_serialization=True)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    given = [*other, "optim.epochs=1", "data.size=32"]
    whole = linear(tmp_path / "net", given)
    assert linear(tmp_path / "net.pth", [*given, "model.arch=resnet10t"]) == whole
    ran = cohobate("transfer", "linear", tmp_path / "net.pth", *given)
    assert ran.code == 2
    assert "say which network it holds by model.arch=NAME" in ran.err
