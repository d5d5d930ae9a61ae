"""CIFAR-10, mixup, ResNet-18.

    python -m experiments.train --config=configs/cifar10_mixup.py --workdir=runs/cifar10_mixup

mixup with Beta(1, 1) (Zhang et al. 2018); ten buckets of the smaller weight. For
an accelerator; not yet run at this size.
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
