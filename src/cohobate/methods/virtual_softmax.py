from torch import nn

from cohobate.core import Batch, Losses, Method, Progress
from cohobate.losses import virtual_softmax
from cohobate.models import Classifier


class VirtualSoftmax(Method[Classifier]):
    """A made-up class lies as near to every image as its own class could at best.

    Chen et al., "Virtual Class Enhanced Discriminative Embedding Learning", NeurIPS 2018,
    https://arxiv.org/abs/1811.12611. Beside its C logits an image with the embedding f
    and the class y gets one more, ||w_y|| ||f||, which is what w_y f would be if the two were
    parallel; L = CE of the C + 1 logits. The made-up class is there in training alone.

    Differs from the paper: the classifier keeps its bias where it has one, as in Self-KD-Lib
    (https://github.com/winycg/Self-KD-Lib); a mixed image counts with either class by its share.
    Networks without exactly one linear classifier are refused.
    """

    def __init__(self, model: Classifier):
        super().__init__(model)
        heads = list(model.head())
        if len(heads) != 1 or not isinstance(heads[0], nn.Linear):
            kinds = " and ".join(type(head).__name__ for head in heads)
            raise ValueError(
                f"virtual_softmax needs the weights of one linear classifier, and model"
                f" {model.spec['arch']!r} has {kinds}: choose a network that ends in one,"
                " such as a ResNet or a ViT"
            )

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        weight = self.model.net.get_classifier().weight
        ce = batch.over_labels(
            lambda targets: virtual_softmax(trace.logits, weight, trace.embedding, targets)
        )
        return {"ce": ce}
