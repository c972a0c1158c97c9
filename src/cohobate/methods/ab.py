import torch

from cohobate.core import Batch, Losses, Method, Positive, Progress, Weight
from cohobate.losses import boundary, total
from cohobate.models import Classifier
from cohobate.modules import Connectors, Frozen
from cohobate.modules.taps import before_activation, tapped


class AB(Method[Classifier]):
    """A first stage: which of a teacher's neurons fire, and which do not, before any label is seen.

    Heo et al., "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden
    Neurons", AAAI 2019,
    https://arxiv.org/abs/1811.03233, the alternative loss. L = beta sum_i 2^(i - n) d(r_i(F_i),
    T_i) over stages i = 1 … n: r_i is a 1 × 1 convolution with batch norm where the shapes differ,
    and d, summed over all but the images, is relu(mu - s)² where the teacher's neuron is positive
    and relu(mu + s)² elsewhere. A `supervised` run that starts from this one is the second stage:
    this one teaches no classifier.

    teacher: the frozen network; student and teacher see the same, equally mixed, images.
    margin: mu, how far beyond zero a neuron is pushed.
    beta: weight of the term; 3 / 1000 is RepDistiller's
        (https://github.com/HobbitLong/RepDistiller).

    Differs from the paper: maps are read before the last ReLU of each stage in the `cifar_`
    networks that have one there, and as they are tapped elsewhere, after it in most. A student's
    map of another size is brought to that of the teacher's; of more stages, evenly spaced ones
    take part.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: Classifier,
        margin: Positive = 1.0,
        beta: Weight = 3e-3,
    ):
        super().__init__(model)
        self.connectors = Connectors(model, teacher, model.size, differing="shape")
        self.note = f"maps: the student's {tapped(model)}, the teacher's {tapped(teacher)}"
        self.teacher = Frozen(teacher)
        self.margin, self.beta = margin, beta

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = batch.inputs
        trace = before_activation(self.model, images)
        with torch.no_grad():
            maps = before_activation(self.teacher.net, images).stages
        stages = zip(*self.connectors(trace.stages, maps))
        terms = [boundary(guess, target, self.margin) for guess, target in stages]
        found = total(x / 2**up for up, x in enumerate(reversed(terms)))
        untaught = 0 * trace.logits.sum()  # every parameter takes part in every step, for DDP
        return {"boundary": self.beta * found + untaught}
