"""Trains WRN-28-10 on CIFAR-10 with RandAugment.

    python -m experiments.train --config=configs/cifar10_randaugment.py --workdir=runs/randaugment

Each image has one or two operations of one magnitude, drawn from 0 to 10 (Cubuk et al. 2020 fix
both). Buckets are number of operations x magnitude. It needs an accelerator, and has not been run
at this size yet.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_randaugment"
    config.augment.name = "randaugment"
    config.dtype = "bfloat16"
    config.buckets.num = 5
    return base.variant(config, arg)
