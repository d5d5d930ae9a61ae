"""Trains the network of digits_augmix.py with AutoAugment.

    python -m experiments.train --config=configs/digits_auto_augment.py --workdir=runs/auto

The policy is that of CIFAR-10. An image gets up to two operations; buckets are of their number
and of their mean strength (Cubuk et al. 2019).
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_auto_augment"
    config.augment.name = "auto_augment"
    config.buckets.num = 3
    return base.variant(config, arg)
