"""The networks of the CIFAR distillation literature, registered in timm under `cifar_...`."""

from cohobate.models.cifar import (
    mobilenetv2,
    preact_resnet,
    resnet,
    shufflenetv1,
    shufflenetv2,
    vgg,
    wrn,
)
from cohobate.models.cifar._chain import Chain

__all__ = [
    "Chain",
    "mobilenetv2",
    "preact_resnet",
    "resnet",
    "shufflenetv1",
    "shufflenetv2",
    "vgg",
    "wrn",
]
