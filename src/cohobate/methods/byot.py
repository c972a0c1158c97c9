import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import hint, kl, total
from cohobate.models import Classifier
from cohobate.modules import Exits


class BYOT(Method[Classifier]):
    """The end of a network teaches classifiers on its earlier stages.

    Zhang et al., "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via
    Self Distillation", ICCV 2019, https://arxiv.org/abs/1905.08094. With logits z_i and maps F_i of
    a branch on every stage but the last, z and F those of the network's end:
    L = CE(z, y) + sum_i [gamma CE(z_i, y) + alpha KL_T(z_i <- sg z) + feature |F_i - sg F|²].

    gamma: weight of the branches' cross-entropy; 1 - alpha in the paper.
    alpha: weight of the KL terms, which carry the factor T².
    temperature: softens both sides of every KL term, T.
    feature: weight of the squared difference of maps, lambda, which is a mean over their elements.

    Differs from the paper: the branches are copies of all remaining stages, and generic ones where
    a network is no chain of stages (transformers), so that all maps have one shape and need no
    adapter; the authors' are short bottlenecks. Their later code
    (https://github.com/ArchipLab-LinfengZhang/pytorch-self-distillation-final), whence alpha and
    T, has no factor T². The network's end is deployed, not the mean of all classifiers.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        gamma: Weight = 0.7,
        alpha: Weight = 0.3,
        temperature: Positive = 3.0,
        feature: Weight = 0.03,
    ):
        super().__init__(model)
        self.exits = Exits(model)
        self.gamma, self.alpha = gamma, alpha
        self.temperature, self.feature = temperature, feature

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        trace = self.model.trace(batch.inputs)
        logits, maps = self.exits(trace.stages)
        label = batch.labels(self.model.num_classes)
        deepest = trace.stages[-1].detach()
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "branch_ce": self.gamma * total(F.cross_entropy(z, label) for z in logits),
            "kd": self.alpha * total(kl(z, trace.logits, self.temperature) for z in logits),
            "feature": self.feature * total(hint(f, deepest) for f in maps),
        }
