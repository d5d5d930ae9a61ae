"""CIFAR-10, RandAugment, WRN-28-10.

    python -m experiments.train --config=configs/cifar10_randaugment.py --workdir=runs/randaugment

One or two operations of one magnitude, drawn from 0 to 10 (Cubuk et al. 2020 fix
both); buckets are number of operations x magnitude. For an accelerator; not yet
run at this size.
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
