"""Every method by its name. A new method is a file of this folder, and its class in this table."""

from cohobate.core import Method
from cohobate.methods.crd import CRD
from cohobate.methods.cutmix import CutMix
from cohobate.methods.frskd import FRSKD
from cohobate.methods.frskd_sla import FRSKDSLA
from cohobate.methods.hsakd import HSAKD
from cohobate.methods.hsakd_teacher import HSAKDTeacher
from cohobate.methods.hssakd import HSSAKD
from cohobate.methods.icsd import ICSD
from cohobate.methods.kd import KD
from cohobate.methods.label_smoothing import LabelSmoothing
from cohobate.methods.mixkd import MIXKD
from cohobate.methods.mixskd import MixSKD
from cohobate.methods.mixup import Mixup
from cohobate.methods.pskd import PSKD
from cohobate.methods.sla import SLA
from cohobate.methods.sla_sd import SLASD
from cohobate.methods.sskd import SSKD
from cohobate.methods.sskd_teacher import SSKDTeacher
from cohobate.methods.supervised import Supervised
from cohobate.methods.wcord import WCoRD

FAMILIES: dict[str, tuple[type[Method], ...]] = {
    "baseline": (Supervised,),
    "labels and logits": (LabelSmoothing,),
    "mixing": (CutMix, Mixup),
    "self-distillation": (FRSKD, FRSKDSLA, HSSAKD, MixSKD, PSKD, SLA, SLASD),
    "logit distillation": (KD, MIXKD),
    "auxiliary heads": (HSAKD, HSAKDTeacher),
    "relations and contrast": (CRD, ICSD, SSKD, SSKDTeacher, WCoRD),
}
"""The methods, by what they have in common."""

METHODS: dict[str, type[Method]] = dict(
    sorted(
        (kind.__module__.rpartition(".")[2], kind) for kinds in FAMILIES.values() for kind in kinds
    )
)
"""The methods by name, which is that of their file."""
