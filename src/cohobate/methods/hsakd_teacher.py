import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress
from cohobate.losses import total
from cohobate.models import Classifier
from cohobate.modules import AuxiliaryHeads
from cohobate.modules.rotation import ROTATIONS, joint_labels, rotate


class HSAKDTeacher(Method[Classifier]):
    """A head on every stage that tells class and rotation at once: the teacher that HSAKD wants.

    Yang et al., "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021,
    https://arxiv.org/abs/2107.13715. L = CE(z, y) + sum_l CE(q_l, 4y + r): the
    network's own logits z of the upright images, the auxiliary ones q_l of all four rotations.

    frozen: train the heads alone, on a network that stays as it is, batch norm too. Such a run
        needs `init`, or `model.pretrained`. Else network and heads are trained together (the
        teachers with a star in the paper's tables).

    Differs from the paper: frozen, the term CE(z, y), which trains nothing, is left out. The last
    epoch counts, not the best on the test set. Networks that are no chain of stages (transformers)
    get generic branches in the place of copies of their stages, and so does the head after the last
    stage where that cannot be built once more: it can for the `cifar_` networks, and where it is a
    row of two blocks or more (timm's ResNets).
    """

    kept_by = "frozen"

    def __init__(self, model: Classifier, *, frozen: bool = False):
        super().__init__(model)
        self.frozen = frozen
        self.heads = AuxiliaryHeads(model, ROTATIONS * model.num_classes)
        if frozen:
            model.hold()

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(rotate(batch.inputs))
        label = batch.labels(self.model.num_classes)
        joint_label = joint_labels(label)
        joint = total(F.cross_entropy(q, joint_label) for q in self.heads(trace.stages))
        if self.frozen:
            return {"joint": joint}
        return {"ce": F.cross_entropy(trace.logits[::ROTATIONS], label), "joint": joint}
