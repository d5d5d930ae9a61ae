"""Trains ResNet-50 on ImageNet with mixup and AutoLabel.

    python -m experiments.train --config=configs/imagenet_mixup.py --workdir=runs/imagenet_mixup

Mixing weights come from Beta(.2, .2), in the range of .1 to .4 that Zhang et al. 2018 found best on
ImageNet, with ten buckets of the smaller weight. All else is as in imagenet_one_hot.py. It has not
been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_mixup"
    config.augment.name = "mixup"
    config.augment.concentration = 0.2
    return base.variant(config, arg)
