"""Trains WRN-28-10 on CIFAR-100 with one chain of AugMix.

    python -m experiments.train --config=configs/cifar100_augmix.py --workdir=runs/cifar100_augmix

It is cifar10_augmix.py with another data set, and has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar100_augmix"
    config.dataset = "cifar100"
    config.dtype = "bfloat16"
    return base.variant(config, arg)
