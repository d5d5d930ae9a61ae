"""Trains the network of digits_augmix.py with the crop of Soft Augmentation, and its labels.

    python -m experiments.train --config=configs/digits_soft_crop.py --workdir=runs/soft_crop

Labels are 1 - (1 - 1/K)·(1 - v)⁴ (Liu et al. 2023); ``--config.labels.rule=autolabel`` learns them
instead.
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_soft_crop"
    config.augment.name = "soft_crop"
    config.buckets.num = 6
    config.labels.rule = "polynomial"
    config.labels.power = 4.0
    return base.variant(config, arg)
