import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Share
from cohobate.models import Classifier
from cohobate.modules import Memory


class PSKD(Method[Classifier]):
    """What the network said of an image the last time it saw it softens the image's label.

    Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV 2021,
    https://arxiv.org/abs/2006.12000, equations 4 and 10. With a_e = alpha (e + 1) / E in epoch e of
    E, counted from zero, and p the softmax of the image's last training pass,
    L = CE(z, (1 - a_e) y + a_e p). An image that was never seen has its label alone.

    alpha: share of the past prediction in the target of the last epoch.

    Differs from the paper: in the first epoch the target is the label, since there is no past;
    under mixing, the past targets of both images are mixed as their labels are, and what is
    remembered of a mixed image is what the network says of the mixture.
    """

    def __init__(self, model: Classifier, *, samples: int, alpha: Share = 0.8):
        super().__init__(model)
        self.alpha = alpha
        self.memory = Memory("past predictions", samples, model.num_classes)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = self.model(batch.inputs)
        past, steps = self.memory.read(batch.ids)
        share = self.alpha * (torch.as_tensor(progress.epoch) + 1) / progress.epochs
        share = torch.where(steps >= 0, share, 0.0)[:, None]
        label = F.one_hot(batch.targets, self.model.num_classes).float()
        target = (1 - share) * label + share * past
        if batch.mix is not None:
            target = batch.mix.blend(target)
        self.memory.write(batch.ids, F.softmax(logits, 1), progress.step)
        return {"ce": F.cross_entropy(logits, target)}
