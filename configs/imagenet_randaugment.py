"""Trains ResNet-50 on ImageNet with RandAugment and AutoLabel.

    python -m experiments.train --config=configs/imagenet_randaugment.py --workdir=runs/randaugment

Each image has one or two operations of one magnitude, drawn from 0 to 10 (Cubuk et al. 2020 fix
both, for ResNet-50 to two of 9). Buckets are number of operations x magnitude. All else is as in
imagenet_one_hot.py. It has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_randaugment"
    config.augment.name = "randaugment"
    config.buckets.num = 5
    config.calibration.exact = True  # of these images
    config.calibration.images_per_update = 2000
    return base.variant(config, arg)
