"""Trains ResNet-18 on CIFAR-10 with mixup.

    python -m experiments.train --config=configs/cifar10_mixup.py --workdir=runs/cifar10_mixup

Mixing weights come from Beta(1, 1) (Zhang et al. 2018), with ten buckets of the smaller weight. It
needs an accelerator, and has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_mixup"
    config.augment.name = "mixup"
    config.model.name = "resnet18"
    config.dtype = "bfloat16"
    return base.variant(config, arg)
