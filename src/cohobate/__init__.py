"""Knowledge distillation and self-distillation for image recognition, on any timm network."""

from cohobate.core import Batch, Losses, Method, Mixture, Progress
from cohobate.methods import METHODS
from cohobate.models import Classifier, Stage, Trace

__all__ = [
    "METHODS",
    "Batch",
    "Classifier",
    "Losses",
    "Method",
    "Mixture",
    "Progress",
    "Stage",
    "Trace",
]
