"""Trains WRN-16-4 on 5,000 images of CIFAR-10, to over-fit on a GPU.

    python -m experiments.train --config=configs/cifar10_5000_wrn.py --workdir=runs/cifar10_5000_wrn

It is configs/cifar10_5000.py with a network that can memorise all 4,000 training images.
Times and results of its runs are in docs/results/cifar10.md.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_5000, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_5000.get_config()
    config.name = "cifar10_5000_wrn"
    config.model.name = "wide_resnet"
    config.model.depth = 16
    config.model.width = 4
    config.dtype = "bfloat16"
    config.batch_size = 128
    config.checkpoint.every_epochs = 20
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
