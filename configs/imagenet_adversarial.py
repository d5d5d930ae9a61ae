"""Trains ResNet-50 on ImageNet with adversarial training by PGD and AutoLabel.

    python -m experiments.train --config=configs/imagenet_adversarial.py --workdir=runs/adversarial

The largest epsilon is 4/255, with three steps of two thirds of epsilon (Salman et al. 2020, "Do
Adversarially Robust ImageNet Models Transfer Better?"). All else is as in imagenet_one_hot.py,
which takes a quarter of the work. It has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, imagenet_one_hot


def get_config(arg: str | None = None) -> ConfigDict:
    config = imagenet_one_hot.recipe()
    config.name = "imagenet_adversarial"
    config.augment.name = "adversarial"
    config.augment.max_epsilon = 4 / 255
    config.augment.num_steps = 3
    config.augment.step_ratio = 2 / 3
    config.buckets.num = 5
    config.calibration.exact = True  # of these images
    config.calibration.images_per_update = 2000
    return base.variant(config, arg)
