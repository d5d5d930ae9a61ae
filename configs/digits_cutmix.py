"""Trains the network of digits_augmix.py with CutMix.

    python -m experiments.train --config=configs/digits_cutmix.py --workdir=runs/cutmix

Each example has six buckets of twice its partner's share of the image (Yun et al. 2019).
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_cutmix"
    config.augment.name = "cutmix"
    config.buckets.num = 6
    return base.variant(config, arg)
