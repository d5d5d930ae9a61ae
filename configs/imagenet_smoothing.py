"""ImageNet, random-resized-crop and flip only, label smoothing of .1, ResNet-50.

    python -m experiments.train --config=configs/imagenet_smoothing.py --workdir=runs/smoothing

Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; all else as
imagenet_one_hot.py. Not yet run at this size.
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
