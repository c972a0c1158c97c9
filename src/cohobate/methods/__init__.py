"""Every method by its name. A new method is a file of this folder and a line of this table."""

from cohobate.core import Method
from cohobate.methods.cutmix import CutMix
from cohobate.methods.frskd import FRSKD
from cohobate.methods.frskd_sla import FRSKDSLA
from cohobate.methods.hsakd import HSAKD
from cohobate.methods.hsakd_teacher import HSAKDTeacher
from cohobate.methods.hssakd import HSSAKD
from cohobate.methods.kd import KD
from cohobate.methods.label_smoothing import LabelSmoothing
from cohobate.methods.mixkd import MIXKD
from cohobate.methods.mixskd import MixSKD
from cohobate.methods.mixup import Mixup
from cohobate.methods.sla import SLA
from cohobate.methods.sla_sd import SLASD
from cohobate.methods.supervised import Supervised

METHODS: dict[str, type[Method]] = {
    "cutmix": CutMix,
    "frskd": FRSKD,
    "frskd_sla": FRSKDSLA,
    "hsakd": HSAKD,
    "hsakd_teacher": HSAKDTeacher,
    "hssakd": HSSAKD,
    "kd": KD,
    "label_smoothing": LabelSmoothing,
    "mixkd": MIXKD,
    "mixskd": MixSKD,
    "mixup": Mixup,
    "sla": SLA,
    "sla_sd": SLASD,
    "supervised": Supervised,
}
