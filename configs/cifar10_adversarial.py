"""Trains ResNet-18 on CIFAR-10 with adversarial training by PGD.

    python -m experiments.train --config=configs/cifar10_adversarial.py --workdir=runs/adversarial

The largest epsilon is 8/255, with ten steps of a quarter of epsilon from a random start. Weight
decay is 5e-4, and the learning rate falls by a factor of 10 at epochs 100 and 150 of 200. It needs
an accelerator, and has not been run at this size yet.
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
    config.calibration.exact = True  # as in its recorded runs
    return base.variant(config, arg)
