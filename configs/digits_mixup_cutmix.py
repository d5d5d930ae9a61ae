"""Trains the network of digits_augmix.py with mixup and CutMix by turns.

    python -m experiments.train --config=configs/digits_mixup_cutmix.py --workdir=runs/mixup_cutmix

Half of the examples are mixed by each method; both have six buckets.
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_mixup_cutmix"
    config.augment.name = "mixup_cutmix"
    config.buckets.num = 6
    return base.variant(config, arg)
