import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress
from cohobate.models import Classifier
from cohobate.modules.rotation import ROTATIONS, matches, matching_head, origins, rotate


class SSKDTeacher(Method[Classifier]):
    """A head on the network that tells which image a turned one is of: what SSKD learns from.

    Xu et al., "Knowledge Distillation Meets Self-Supervision", ECCV 2020,
    https://arxiv.org/abs/2006.07114, section 3. The head, two linear layers and a ReLU, reads the
    embedding; of the three turns of each of B images and of the B upright ones it makes a matrix
    (3B, B) of cosines, and L = CE(cosines, the image that was turned).

    frozen: train the head alone, on a network that stays as it is, batch norm too, as the paper does.
        Such a run needs `init`, or `model.pretrained`. Else network and head are trained together,
        and the cross-entropy of the upright images joins in.

    Differs from the paper: the last epoch counts. The turns of a mixed image are turns of the
    mixture.
    """

    kept_by = "frozen"
    min_batch_size = 2

    def __init__(self, model: Classifier, *, frozen: bool = False):
        super().__init__(model)
        self.frozen = frozen
        self.head = matching_head(model)
        if frozen:
            model.hold()

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(rotate(batch.inputs))
        matrix = matches(self.head(trace.embedding))
        match = F.cross_entropy(matrix, origins(matrix))
        if self.frozen:
            return {"match": match}
        label = batch.labels(self.model.num_classes)
        return {"ce": F.cross_entropy(trace.logits[::ROTATIONS], label), "match": match}
