"""Every method by its name. A new method is a file of this folder and a line of this table."""

from cohobate.core import Method
from cohobate.methods.cutmix import CutMix
from cohobate.methods.kd import KD
from cohobate.methods.label_smoothing import LabelSmoothing
from cohobate.methods.mixskd import MixSKD
from cohobate.methods.mixup import Mixup
from cohobate.methods.supervised import Supervised

METHODS: dict[str, type[Method]] = {
    "cutmix": CutMix,
    "kd": KD,
    "label_smoothing": LabelSmoothing,
    "mixskd": MixSKD,
    "mixup": Mixup,
    "supervised": Supervised,
}
