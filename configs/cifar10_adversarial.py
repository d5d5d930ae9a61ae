"""CIFAR-10, adversarial training by PGD, ResNet-18.

    python -m experiments.train --config=configs/cifar10_adversarial.py --workdir=runs/adversarial

Largest epsilon 8/255, ten steps of a quarter of epsilon, random start; decay 5e-4,
learning rate x .1 at epochs 100 and 150 of 200. For an accelerator; not yet run
at this size.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_adversarial"
    config.augment.name = "adversarial"
    config.model.name = "resnet18"
    config.dtype = "bfloat16"
    config.optimizer.schedule = "step"
    config.optimizer.boundaries = (0.5, 0.75)
    config.optimizer.decay = 0.1
    config.buckets.num = 5
    return base.variant(config, arg)
