"""ImageNet, mixup, AutoLabel, ResNet-50.

    python -m experiments.train --config=configs/imagenet_mixup.py --workdir=runs/imagenet_mixup

Beta(.2, .2), from the range of .1 to .4 that Zhang et al. 2018 found best on ImageNet; ten
buckets of the smaller weight; all else as imagenet_one_hot.py. Not yet run at this size.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_mixup"
    config.augment.name = "mixup"
    config.augment.concentration = 0.2
    return base.variant(config, arg)
