"""Trains the network of digits_augmix.py with Patch Gaussian.

    python -m experiments.train --config=configs/digits_patch_gaussian.py --workdir=runs/patch

Buckets are of the root mean square of the noise (Lopes et al. 2019).
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits_patch_gaussian"
    config.augment.name = "patch_gaussian"
    config.buckets.num = 6
    return base.variant(config, arg)
