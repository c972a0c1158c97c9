import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import pearson, standardised
from cohobate.models import Classifier
from cohobate.modules import Frozen


class DIST(Method[Classifier]):
    """A student's predictions need only correlate with its teacher's: by image, and by class.

    Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022,
    https://arxiv.org/abs/2205.10536. With p = softmax(z / T) of B images and C classes, and
    Pearson's correlation r, L = CE(s, y) + beta T² mean_b (1 - r(p_s[b], p_t[b])) +
    gamma T² mean_c (1 - r(p_s[:, c], p_t[:, c])). The factor T² is that of the authors' code.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    temperature: softens both predictions, T; the authors' is 1 for ImageNet.
    beta: weight of the correlation over the classes of an image.
    gamma: weight of the correlation over the images of a class.
    standardise: divide the logits of both, row by row, by their deviation over the classes: logit
        standardisation, https://arxiv.org/abs/2403.01427, which was not tried with this method there.

    Differs from the paper: classes of which the teacher says the same of every image, to rounding,
    count as learnt, where the authors' code adds 1e-8 to the norms. On several processes the images
    of a class are those of one process.
    """

    recalls = "all"  # a class is compared over all images
    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        temperature: Positive = 4.0,
        beta: Weight = 2.0,
        gamma: Weight = 2.0,
        standardise: bool = False,
    ):
        super().__init__(model)
        self.teacher = Frozen(teacher)
        self.temperature, self.beta, self.gamma = temperature, beta, gamma
        self.standardise = standardise

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images, T = batch.inputs, self.temperature
        logits, teacher = self.model(images), self.teacher.of(batch, images)
        student = logits
        if self.standardise:
            student, teacher = standardised(logits), standardised(teacher)
        p_s, p_t = F.softmax(student / T, 1), F.softmax(teacher / T, 1)
        return {
            "ce": F.cross_entropy(logits, batch.labels(self.model.num_classes)),
            "inter_class": self.beta * T**2 * pearson(p_s, p_t, 1),
            "intra_class": self.gamma * T**2 * pearson(p_s, p_t, 0),
        }
