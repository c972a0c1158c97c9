import torch.nn.functional as F

from cohobate.core import Batch, Losses, Method, Positive, Progress, Share, Weight
from cohobate.losses import chosen_kl, kl, least_wrong
from cohobate.methods.sskd_teacher import SSKDTeacher
from cohobate.models import Classifier
from cohobate.modules import Frozen
from cohobate.modules.rotation import ROTATIONS, matches, matching_head, origins, parted, rotate


class SSKD(Method[Classifier]):
    """The teacher's view of turned images, and of which image each is a turn of, joins KD.

    Xu et al., "Knowledge Distillation Meets Self-Supervision", ECCV 2020,
    https://arxiv.org/abs/2006.07114, section 3, with the weights of the authors' code
    (https://github.com/xuguodong03/SSKD). Of B upright images with logits z, of their 3B turns with
    logits r, and of the matrix m (3B, B) of cosines of turned with upright ones,
    L = .1 CE(z, y) + .9 KL_4(z <- z^T) + 2.7 KL_4(r <- r^T) + 10 KL_.5(m <- m^T). The last two are
    means over chosen rows: all that the teacher gets right, and of the others those that it gets
    least wrong. Neither turns nor head are deployed.

    teacher: a run of `sskd_teacher`; it sees the same images.
    temperature: softens the logits of both networks.
    match_temperature: softens the cosines of both networks.
    ce, kd, turned, match: weights of the four terms.
    turned_share: of the turned images whose class the teacher gets wrong, those that count.
    match_share: of those whose upright image it gets wrong, those that count.

    Differs from the paper: the last epoch counts, not the best on the test set. The class of a mixed
    image, where the teacher is right or wrong about it, is the one that it has most of.
    """

    min_batch_size = 2

    def __init__(
        self,
        model: Classifier,
        *,
        teacher: SSKDTeacher,
        temperature: Positive = 4.0,
        match_temperature: Positive = 0.5,
        ce: Weight = 0.1,
        kd: Weight = 0.9,
        turned: Weight = 2.7,
        match: Weight = 10.0,
        turned_share: Share = 1.0,
        match_share: Share = 0.75,
    ):
        super().__init__(model)
        self.head = matching_head(model)
        self.teacher, self.teacher_head = Frozen(teacher.model), Frozen(teacher.head)
        self.temperature, self.match_temperature = temperature, match_temperature
        self.ce, self.kd, self.turned, self.match = ce, kd, turned, match
        self.turned_share, self.match_share = turned_share, match_share

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        images = rotate(batch.inputs)
        trace, target = self.model.trace(images), self.teacher.trace(images)
        upright, turned = parted(trace.logits)
        upright_target, turned_target = parted(target.logits)
        matrix = matches(self.head(trace.embedding))
        matrix_target = matches(self.teacher_head(target.embedding))
        label, T = batch.labels(self.model.num_classes), self.temperature
        classes = label.argmax(1).repeat_interleave(ROTATIONS - 1)
        clear = least_wrong(turned_target, classes, self.turned_share)
        matched = least_wrong(matrix_target, origins(matrix), self.match_share)
        found = chosen_kl(matrix, matrix_target, matched, self.match_temperature)
        return {
            "ce": self.ce * F.cross_entropy(upright, label),
            "kd": self.kd * kl(upright, upright_target, T),
            "turned": self.turned * chosen_kl(turned, turned_target, clear, T),
            "match": self.match * found,
        }
