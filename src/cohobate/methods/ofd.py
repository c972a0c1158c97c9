import torch
import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Progress, Weight
from cohobate.losses import partial_l2, total
from cohobate.models import Classifier
from cohobate.modules import Connectors, Frozen
from cohobate.modules.taps import Margins, before_activation, tapped


class OFD(Method[Classifier]):
    """What a teacher's maps say before their ReLU, as far as the ReLU lets it matter.

    Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019,
    https://arxiv.org/abs/1904.01866, section 3. L = CE(z, y) + beta sum_i 2^(i - n) d_p(r_i(F_i),
    max(T_i, m_i)) over stages i = 1 … n: r_i is a 1 × 1 convolution with batch norm, m_i the mean
    of what is negative in each channel, and the squared error d_p, summed over all but the images,
    counts where the target is positive or surpassed.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    beta: weight of the feature term, whose last stage counts whole.

    Differs from the paper: maps are read before the last ReLU of each stage in the `cifar_`
    networks that have one there, and as they are tapped elsewhere, after it in most; the margins
    m_i of a stage that is so read and ends in a batch norm come from that, those of others are the
    means of each batch. A student's map of another size is brought to that of the teacher's; of
    more stages, evenly spaced ones take part.
    """

    def __init__(self, model: Classifier, *, teacher: Classifier, beta: Weight = 1e-3):
        super().__init__(model)
        self.connectors = Connectors(model, teacher, model.size)
        met = [teacher.stages[t] for _, t in self.connectors.pairs]
        self.margins = Frozen(Margins(teacher, met))
        self.note = f"maps: the student's {tapped(model)}, the teacher's {tapped(teacher)}"
        self.teacher = Frozen(teacher)
        self.beta = beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace = before_activation(self.model, images)
        with torch.no_grad():
            maps = before_activation(self.teacher.net, images).stages
        guesses, targets = self.connectors(trace.stages, maps)
        stages = zip(guesses, targets, self.margins(targets))
        terms = [partial_l2(guess, target, margin) for guess, target, margin in stages]
        label = batch.labels(self.model.num_classes)
        return {
            "ce": F.cross_entropy(trace.logits, label),
            "feature": self.beta * total(x / 2**up for up, x in enumerate(reversed(terms))),
        }
