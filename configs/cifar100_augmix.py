"""CIFAR-100, AugMix with one chain, WRN-28-10.

    python -m experiments.train --config=configs/cifar100_augmix.py --workdir=runs/cifar100_augmix

As cifar10_augmix.py, and like it not yet run at this size.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar100_augmix"
    config.dataset = "cifar100"
    config.dtype = "bfloat16"
    return base.variant(config, arg)
