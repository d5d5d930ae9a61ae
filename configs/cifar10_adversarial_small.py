"""Compares label rules under adversarial training of ResNet-18 on 8,000 images of CIFAR-10.

    python -m experiments.sweep --config=configs/cifar10_adversarial_small.py \
        --workdir=runs/cifar10_adversarial_small --attacks=fgsm,pgd20 --examples=1000 --processes=5

Epsilon is at most 8/255, with ten steps of PGD. It is shorter than configs/cifar10_adversarial.py,
so that all rules take a few minutes of a GPU. It has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_adversarial, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_adversarial.get_config()
    config.name = "cifar10_adversarial_small"
    config.train_examples = 10000
    config.calibration.fraction = 0.2
    config.calibration.images_per_update = 500
    config.epochs = 12
    config.buckets.num = 3
    config.checkpoint.every_epochs = 12
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with two seeds."""
    sweeps.sweep(add, name, seeds=range(2))
