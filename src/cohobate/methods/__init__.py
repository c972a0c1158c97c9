"""Every method by its name. A new method is a file of this folder, and its class in this table."""

import inspect
from importlib import import_module

from cohobate.core import Method, unknown
from cohobate.methods.ab import AB
from cohobate.methods.at import AT
from cohobate.methods.augmix_jsd import AugMixJSD
from cohobate.methods.bake import BAKE
from cohobate.methods.byol import BYOL
from cohobate.methods.byot import BYOT
from cohobate.methods.cc import CC
from cohobate.methods.crd import CRD
from cohobate.methods.cskd import CSKD
from cohobate.methods.ctkd import CTKD
from cohobate.methods.cutmix import CutMix
from cohobate.methods.cwd import CWD
from cohobate.methods.ddgsd import DDGSD
from cohobate.methods.detection_kd import DetectionKD
from cohobate.methods.dist import DIST
from cohobate.methods.dkd import DKD
from cohobate.methods.dks import DKS
from cohobate.methods.dlb import DLB
from cohobate.methods.dml import DML
from cohobate.methods.fitnet import FitNet
from cohobate.methods.focal import Focal
from cohobate.methods.frskd import FRSKD
from cohobate.methods.frskd_segmentation import FRSKDSegmentation
from cohobate.methods.frskd_sla import FRSKDSLA
from cohobate.methods.fsp import FSP
from cohobate.methods.ft import FT
from cohobate.methods.ft_paraphraser import FTParaphraser
from cohobate.methods.hsakd import HSAKD
from cohobate.methods.hsakd_teacher import HSAKDTeacher
from cohobate.methods.hssakd import HSSAKD
from cohobate.methods.icsd import ICSD
from cohobate.methods.kd import KD
from cohobate.methods.label_smoothing import LabelSmoothing
from cohobate.methods.logit_norm import LogitNorm
from cohobate.methods.manifold_mixup import ManifoldMixup
from cohobate.methods.max_entropy import MaxEntropy
from cohobate.methods.mean_teacher import MeanTeacher
from cohobate.methods.mixkd import MIXKD
from cohobate.methods.mixskd import MixSKD
from cohobate.methods.mixup import Mixup
from cohobate.methods.mlkd import MLKD
from cohobate.methods.nfd import NFD
from cohobate.methods.nkd import NKD
from cohobate.methods.nst import NST
from cohobate.methods.ofd import OFD
from cohobate.methods.pkd import PKD
from cohobate.methods.pkt import PKT
from cohobate.methods.pskd import PSKD
from cohobate.methods.residual_kd import ResidualKD
from cohobate.methods.reviewkd import ReviewKD
from cohobate.methods.rkd import RKD
from cohobate.methods.sad import SAD
from cohobate.methods.semckd import SemCKD
from cohobate.methods.simkd import SimKD
from cohobate.methods.sla import SLA
from cohobate.methods.sla_sd import SLASD
from cohobate.methods.sp import SP
from cohobate.methods.sskd import SSKD
from cohobate.methods.sskd_teacher import SSKDTeacher
from cohobate.methods.supervised import Supervised
from cohobate.methods.tf_kd import TfKD
from cohobate.methods.tf_kd_self import TfKDSelf
from cohobate.methods.unix import UNIX
from cohobate.methods.uskd import USKD
from cohobate.methods.vid import VID
from cohobate.methods.virtual_softmax import VirtualSoftmax
from cohobate.methods.wcord import WCoRD
from cohobate.methods.wsld import WSLD

FAMILIES: dict[str, tuple[type[Method], ...]] = {
    "baseline": (Supervised,),
    "labels and logits": (
        Focal,
        LabelSmoothing,
        LogitNorm,
        MaxEntropy,
        TfKD,
        VirtualSoftmax,
    ),
    "mixing": (
        AugMixJSD,
        CutMix,
        ManifoldMixup,
        Mixup,
    ),
    "self-distillation": (
        BAKE,
        BYOT,
        CSKD,
        DDGSD,
        DKS,
        DLB,
        FRSKD,
        FRSKDSLA,
        HSSAKD,
        MixSKD,
        PSKD,
        SAD,
        SLA,
        SLASD,
        TfKDSelf,
        USKD,
    ),
    "averages": (
        BYOL,
        MeanTeacher,
    ),
    "logit distillation": (
        CTKD,
        DIST,
        DKD,
        DML,
        KD,
        MIXKD,
        MLKD,
        NKD,
        UNIX,
        WSLD,
    ),
    "feature distillation": (
        AB,
        AT,
        CC,
        FitNet,
        FSP,
        FT,
        FTParaphraser,
        NFD,
        NST,
        OFD,
        PKT,
        ResidualKD,
        ReviewKD,
        RKD,
        SemCKD,
        SimKD,
        SP,
        VID,
    ),
    "relations and contrast": (
        CRD,
        ICSD,
        SSKD,
        SSKDTeacher,
        WCoRD,
    ),
    "auxiliary heads": (
        HSAKD,
        HSAKDTeacher,
    ),
    "segmentation": (
        CWD,
        FRSKDSegmentation,
    ),
    "detection": (
        DetectionKD,
        PKD,
    ),
}
"""The methods, by what they have in common."""

METHODS: dict[str, type[Method]] = dict(
    sorted(
        (kind.__module__.rpartition(".")[2], kind) for kinds in FAMILIES.values() for kind in kinds
    )
)
"""The methods by name, which is that of their file."""


def find_method(name: str) -> type[Method]:
    """The class of a method: one of the table, or `module:Class` from outside the package."""
    if name in METHODS:
        return METHODS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise unknown("method", name, METHODS)
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"method {name!r} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"method {name!r} is no subclass of cohobate.core.Method")
    return kind


def method_name(kind: type[Method]) -> str:
    """The name of a method in the table; that of its class from outside."""
    return next((name for name, known in METHODS.items() if known is kind), kind.__name__)


def asked(name: str) -> set[str]:
    """What a method's class asks for beside the network: its options, its teacher, how many images there are."""
    return set(list(inspect.signature(find_method(name)).parameters)[1:])
