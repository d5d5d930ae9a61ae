"""CIFAR-10, adversarial training by PGD, ResNet-18, 8,000 images: the label rules, two seeds.

    python -m experiments.sweep --config=configs/cifar10_adversarial_small.py \
        --workdir=runs/cifar10_adversarial_small --attacks=fgsm,pgd20 --examples=1000 --processes=5

Epsilon up to 8/255, ten steps; a share of what configs/cifar10_adversarial.py takes, so that all
rules fit into a few minutes of a GPU. Not yet run at this size.
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
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, two seeds."""
    sweeps.sweep(add, name, seeds=range(2))
