"""ImageNet, AugMix with one chain, AutoLabel, ResNet-50.

    python -m experiments.train --config=configs/imagenet_augmix.py --workdir=runs/imagenet_augmix

Operations as in the AugMix reference (Hendrycks et al. 2020), which trains for 180 epochs;
all else as imagenet_one_hot.py. 30 buckets: depth 1 to 3 x ten of the mixing weight, so the
calibration pass takes 2,000 of the 10,000 held-out images, drawn anew for each update. Not
yet run at this size.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_augmix"
    config.augment.name = "augmix"
    config.calibration.images_per_update = 2000
    return base.variant(config, arg)
