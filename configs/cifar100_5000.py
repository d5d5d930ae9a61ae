"""Compares label rules on 5,000 training images of CIFAR-100, with AugMix and a small CNN on a CPU.

    python -m experiments.sweep --config=configs/cifar100_5000.py --workdir=runs/cifar100_5000 \
        --corruptions --examples=1000 --processes=2

It is configs/cifar10_5000.py for half as many epochs, with 250 held-out images for each update.
Times and results of its runs are in docs/results/cifar100.md.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_5000, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_5000.get_config()
    config.name = "cifar100_5000"
    config.dataset = "cifar100"
    config.epochs = 30
    config.calibration.images_per_update = 250
    config.checkpoint.every_epochs = 10
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
