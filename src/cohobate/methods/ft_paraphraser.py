import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Share
from cohobate.losses import hint
from cohobate.models import Classifier
from cohobate.modules.connector import shapes
from cohobate.modules.paraphraser import Paraphraser


class FTParaphraser(Method[Classifier]):
    """An autoencoder that puts a network's last map in fewer words: the teacher that FT wants.

    Kim et al., "Paraphrasing Complex Network: Network Compression via Factor
    Transfer", NeurIPS 2018,
    https://arxiv.org/abs/1802.04977, section 3.1. L = mean (F - P(F))², F the network's last map, P
    three 3 × 3 convolutions down to the factors and three up again, each with a leaky ReLU.

    rate: channels of the factors for each of the map's, k.
    frozen: train the autoencoder alone, on a network that stays as it is, batch norm too, as the
        paper does. Such a run needs `init`, or `model.pretrained`. Else the network
        learns from its labels beside, and the autoencoder changes nothing in it.

    Differs from the paper: the upward convolutions are plain ones, which at stride 1 compute what
    transposed ones do.
    """

    kept_by = "frozen"

    def __init__(self, model: Classifier, *, rate: Share = 0.5, frozen: bool = False):
        super().__init__(model)
        self.frozen = frozen
        self.paraphraser = Paraphraser(shapes(model, model.size).maps[-1].channels, rate)
        if frozen:
            model.hold()

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        maps = trace.stages[-1].detach()
        losses = {"reconstruction": hint(self.paraphraser(maps), maps)}
        if not self.frozen:
            label = batch.labels(self.model.num_classes)
            losses["ce"] = F.cross_entropy(trace.logits, label)
        return losses
