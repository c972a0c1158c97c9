"""Rotations of a batch, and labels that tell class and rotation at once."""

import pytest
import torch
import torch.nn.functional as F

from cohobate.modules.rotation import aggregate, joint_labels, rotate


def test_rotations_go_image_by_image_counter_clockwise():
    images = torch.rand(2, 3, 4, 4)
    turned = rotate(images)
    assert turned.shape == (8, 3, 4, 4)
    for b in range(2):
        for y in range(4):
            for x in range(4):
                pixel = images[b, :, y, x]
                places = [(y, x), (3 - x, y), (3 - y, 3 - x), (x, 3 - y)]
                for r, (row, column) in enumerate(places):
                    assert torch.equal(turned[4 * b + r, :, row, column], pixel), (b, r)


@pytest.mark.parametrize("height, width", [(4, 6), (6, 4)])
def test_images_that_are_not_square_are_refused(height, width):
    with pytest.raises(ValueError, match=rf"square images.* {height} × {width}: choose"):
        rotate(torch.rand(2, 3, height, width))


def test_joint_labels_are_class_by_class():
    label = F.one_hot(torch.tensor([2, 0]), 3).float()
    assert joint_labels(label).argmax(1).tolist() == [8, 9, 10, 11, 0, 1, 2, 3]


def test_joint_labels_of_a_mixture():
    label = torch.tensor([[0.7, 0.0, 0.3], [0.0, 1.0, 0.0]])
    joint = joint_labels(label)
    assert joint.shape == (8, 12)
    for b in range(2):
        for r in range(4):
            for c in range(3):
                for s in range(4):
                    expected = label[b, c] if r == s else 0
                    assert joint[4 * b + r, 4 * c + s] == expected


def test_aggregate_is_the_mean_of_what_is_said_of_the_true_rotation():
    joint = torch.randn(8, 12)
    expected = [
        [sum(joint[4 * b + r, 4 * c + r].item() for r in range(4)) / 4 for c in range(3)]
        for b in range(2)
    ]
    torch.testing.assert_close(aggregate(joint, 3), torch.tensor(expected))
    assert aggregate(joint.bfloat16(), 3).dtype == torch.float32
