from typing import Literal

import torch
import torch.nn.functional as F

from cohobate.core import Batch, Count, Losses, Method, Positive, Progress, Share
from cohobate.models import Classifier
from cohobate.models.parts import apply, parts
from cohobate.modules.mixing import ManifoldMixing


class ManifoldMixup(Method[Classifier]):
    """Plain training on averages of two images, or of what the first layers make of them.

    Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden States", ICML 2019,
    https://arxiv.org/abs/1806.05236, equation 1. With g_k the network up to layer k, drawn for each
    batch, and f_k the rest of it: L = CE(f_k(w g_k(x_i) + (1 - w) g_k(x_j)), w y_i + (1 - w) y_j).

    alpha: both parameters of the Beta distribution that draws the weight w.
    share: fraction of the images that is mixed.
    per: one weight for the whole batch, or one for each sample.
    deepest: the layers drawn from are the images and the outputs of so many first stages.

    Differs from the paper: its layers are the first residual blocks of a network; here they are
    stages, of one block or several.
    """

    mixes = True

    def __init__(
        self,
        model: Classifier,
        *,
        alpha: Positive = 2.0,
        share: Share = 1.0,
        per: Literal["batch", "sample"] = "batch",
        deepest: Count = 2,
    ):
        super().__init__(model)
        self.parts = parts(model)
        if deepest > len(model.stages):
            raise ValueError(
                f"method.deepest={deepest}: {model.spec['arch']!r} has {len(model.stages)} stages;"
                " choose fewer"
            )
        self.mix = ManifoldMixing(alpha=alpha, share=share, per=per, deepest=deepest)
        self.deepest = deepest

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        mix, net = batch.mix, self.model.net
        drawn = mix if mix is not None and mix.layer is not None else None
        values = self.model.normalise(batch.images if drawn else batch.inputs)
        for layer, names in enumerate(self.parts):
            if drawn and layer <= self.deepest:
                weight = torch.where(drawn.layer == layer, drawn.weight, 1.0)
                values = drawn._replace(weight=weight).blend(values)
            values = apply(net, names, values)
        logits = net.forward_head(values).float()
        return {"ce": F.cross_entropy(logits, batch.labels(self.model.num_classes))}
