"""Trains ResNet-50 on ImageNet with random-resized-crop, flip and label smoothing of .1.

    python -m experiments.train --config=configs/imagenet_smoothing.py --workdir=runs/smoothing

Label smoothing follows Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7. All
else is as in imagenet_one_hot.py. It has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_smoothing"
    config.augment.name = "none"
    config.labels.rule = "smoothing"
    config.labels.smoothing = 0.1
    config.buckets.num = 1
    return base.variant(config, arg)
