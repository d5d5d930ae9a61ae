"""CIFAR-10, AugMix with one chain, a small CNN: what two CPU cores can bear.

    python -m experiments.train --config=configs/cifar10_small.py --workdir=runs/cifar10_small

A grid of augmentations and label rules with it: configs/cifar10_table_small.py.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_small"
    config.model.name = "small_cnn"
    config.model.width = 16
    config.epochs = 8
    config.buckets.num = 3
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, five seeds."""
    sweeps.sweep(add, name, seeds=range(5))
