import torch
import torch.nn.functional as F
from torch import nn

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.models import Classifier
from cohobate.modules import rotation


class SLA(Method[Classifier]):
    """One task of telling class and rotation together, on the four rotations of every image.

    Lee et al., "Self-supervised Label Augmentation via Input Transformations", ICML 2020,
    https://arxiv.org/abs/1910.05872, with single inference (SLA+SI there).
    L = CE(joint, 4y + r), the mean over all 4B rotations, all of which pass the network at once.

    Of the 4C joint logits, the C that say "not turned" are the network's own, so that the deployed
    network is the paper's single inference, P(class | not turned) of the upright image; it has no
    loss of its own. The paper's aggregated inference over four rotations is
    `cohobate.modules.rotation.aggregate`.

    joint: weight of the cross-entropy; 4 makes it the sum over rotations, as the authors advise for
        data like ImageNet.

    Differs from the paper: a mixed image is mixed first and then turned.
    """

    def __init__(self, model: Classifier, *, joint: Weight = 1.0):
        super().__init__(model)
        self.joint = joint
        self.turned = nn.Linear(model.net.head_hidden_size, 3 * model.num_classes)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(rotation.rotate(batch.inputs))
        turned = self.turned(trace.embedding).float().unflatten(1, (-1, 3))
        joint = torch.cat([trace.logits[:, :, None], turned], 2).flatten(1)
        label = rotation.joint_labels(batch.labels(self.model.num_classes))
        return {"joint": self.joint * F.cross_entropy(joint, label)}
