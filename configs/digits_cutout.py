"""Trains the network of digits_augmix.py with Cutout.

    python -m experiments.train --config=configs/digits_cutout.py --workdir=runs/cutout

Boxes of up to half of the side are hidden, in six buckets of the share that is hidden.
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_cutout"
    config.augment.name = "cutout"
    config.buckets.num = 6
    return base.variant(config, arg)
