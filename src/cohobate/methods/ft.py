import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import factor_transfer
from cohobate.methods.ft_paraphraser import FTParaphraser
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.connector import resized, shapes
from cohobate.modules.paraphraser import convolutions


class FT(Method[Classifier]):
    """The student's last map is translated into the words in which the teacher's is paraphrased.

    Kim et al., "Paraphrasing Complex Network: Network Compression via Factor
    Transfer", NeurIPS 2018,
    https://arxiv.org/abs/1802.04977, section 3.2. L = CE(z, y) + beta mean |A / ‖A‖ - B / ‖B‖|:
    A are the student's factors of an image, B the teacher's, each a vector; the mean is over its
    numbers and the images. The translator is the paraphraser's first half once more.

    teacher: a run of `ft_paraphraser`; student and teacher see the same, equally mixed, images.
    beta: weight of the factors' term; 500 is that of the authors' code.
    pooled: compare the mean over channels of the factors' squares, as RepDistiller does
        (https://github.com/HobbitLong/RepDistiller), where beta is 200.

    Differs from the paper: factors of different sizes are compared at the teacher's.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: FTParaphraser,
        beta: Weight = 500.0,
        pooled: bool = False,
    ):
        super().__init__(model)
        width, factors = shapes(model, model.size).maps[-1].channels, teacher.paraphraser.width
        self.translator = convolutions(width, width, factors, factors)
        self.teacher = Frozen(teacher.model)
        self.paraphraser = Frozen(teacher.paraphraser.encoder)
        self.beta, self.pooled = beta, pooled

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace = self.model.trace(images)
        target = self.paraphraser(self.teacher.trace(images).stages[-1])
        found = resized(self.translator(trace.stages[-1]), *target.shape[-2:])
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "factors": self.beta * factor_transfer(found, target, pooled=self.pooled),
        }
