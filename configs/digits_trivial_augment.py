"""Trains the network of digits_augmix.py with TrivialAugment.

    python -m experiments.train --config=configs/digits_trivial_augment.py --workdir=runs/trivial

An image gets one operation; buckets are of its strength (Müller & Hutter 2021).
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_trivial_augment"
    config.augment.name = "trivial_augment"
    config.buckets.num = 6
    return base.variant(config, arg)
