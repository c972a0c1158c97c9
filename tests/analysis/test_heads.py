"""What the heads of methods say: against their modules, asked by hand."""

import pytest
import torch

from cohobate.analysis.heads import accuracies, has_more, say, say_joint, teacher_of, traced
from cohobate.core import Batch
from cohobate.methods import METHODS
from cohobate.models import Classifier

CLASSES = 3


def network(arch="cifar_resnet8"):
    return Classifier(arch, CLASSES, size=32)


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_exits_and_the_self_teacher_of_mixskd(images):
    method = METHODS["mixskd"](network()).eval()
    said = say(method, images)
    assert list(said) == ["exit 1", "exit 2", "network", "self-teacher"]
    trace = method.model.trace(images)
    logits, maps = method.get_submodule("exits")(trace.stages)
    torch.testing.assert_close(said["exit 2"], logits[1])
    torch.testing.assert_close(said["network"], method.model(images))
    expected = method.get_submodule("self_teacher")([*maps, trace.stages[-1]])
    torch.testing.assert_close(said["self-teacher"], expected)


@torch.no_grad()
def test_teachers_are_asked_last(images):
    frskd = METHODS["frskd"](network()).eval()
    assert list(say(frskd, images)) == ["network", "self-teacher"]
    assert list(traced(frskd)) == ["network", "self-teacher"]
    teacher = network("cifar_resnet14").eval()
    kd = METHODS["kd"](network(), teacher=teacher).eval()
    assert teacher_of(kd) is teacher
    assert list(traced(kd)) == ["network", "teacher"]
    torch.testing.assert_close(say(kd, images)["teacher"], teacher(images))
    assert teacher_of(frskd) is None
    dml, alone = METHODS["dml"](network()).eval(), METHODS["supervised"](network()).eval()
    assert list(say(dml, images)) == ["network", "peer 1"]
    assert list(say(alone, images)) == ["network"]
    assert [has_more(each) for each in (frskd, kd, dml, alone)] == [True, True, True, False]


@torch.no_grad()
def test_a_head_of_class_and_rotation_is_asked_for_both(images):
    """Joint class 4y + r: what is said of upright images is asked of r = 0."""
    method = METHODS["hsakd_teacher"](network()).eval()
    heads = method.get_submodule("heads")
    upright = heads(method.model.trace(images).stages)
    said = say(method, images)
    assert list(said) == ["head 1", "head 2", "head 3", "network"]
    for name, logits in zip(said, upright):
        for label in range(CLASSES):
            torch.testing.assert_close(said[name][:, label], logits[:, 4 * label])
    joint = say_joint(method, images)["head 1"]
    turned = torch.rot90(images[2:3], 3, (2, 3))
    expected = heads(method.model.trace(turned).stages)[0]
    torch.testing.assert_close(joint[4 * 2 + 3 : 4 * 2 + 4], expected, rtol=1e-4, atol=1e-5)
    assert say_joint(METHODS["byot"](network()).eval(), images) == {}


@torch.no_grad()
def test_accuracies_are_shares_of_all_images(images):
    method = METHODS["hsakd_teacher"](network()).eval()
    targets = torch.tensor([0, 1, 2, 1])
    rows = torch.arange(4)
    batches = [Batch(images[:3], targets[:3], rows[:3]), Batch(images[3:], targets[3:], rows[3:])]
    found = {score.name: score for score in accuracies(method.train(), batches)}
    method.eval()
    heads = method.get_submodule("heads")
    for place in range(3):
        hits = joint_hits = 0
        for image, target in zip(images, targets.tolist()):
            for turn in range(4):
                turned = torch.rot90(image[None], turn, (2, 3))
                logits = heads(method.model.trace(turned).stages)[place][0]
                joint_hits += int(logits.argmax()) == 4 * target + turn
                hits += turn == 0 and int(logits[::4].argmax()) == target
        score = found[f"head {place + 1}"]
        assert (score.accuracy, score.joint) == (hits / 4, joint_hits / 16)
    assert found["network"].joint is None
