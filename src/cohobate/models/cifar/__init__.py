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

__all__ = [
    "mobilenetv2",
    "preact_resnet",
    "resnet",
    "shufflenetv1",
    "shufflenetv2",
    "vgg",
    "wrn",
]
