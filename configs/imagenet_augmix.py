"""Trains ResNet-50 on ImageNet with one chain of AugMix and AutoLabel.

    python -m experiments.train --config=configs/imagenet_augmix.py --workdir=runs/imagenet_augmix

Operations are those of the AugMix reference (Hendrycks et al. 2020), which trains for 180 epochs.
All else is as in imagenet_one_hot.py. There are 30 buckets, depth 1 to 3 x ten of the mixing
weight, so each calibration pass uses a new random 2,000 of the 10,000 held-out images. It has not
been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_augmix"
    config.augment.name = "augmix"
    config.calibration.exact = True  # of these images
    config.calibration.images_per_update = 2000
    return base.variant(config, arg)
