"""Networks that predict, and that show what they computed on the way."""

from cohobate.models import cifar
from cohobate.models.classifier import Classifier, Tail, Unavailable
from cohobate.models.detector import Detector
from cohobate.models.segmenter import Segmenter
from cohobate.models.trace import Model, Stage, Trace

__all__ = [
    "Classifier",
    "Detector",
    "Model",
    "Segmenter",
    "Stage",
    "Tail",
    "Trace",
    "Unavailable",
    "cifar",
]
