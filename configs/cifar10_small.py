"""Trains a small CNN on CIFAR-10 with one chain of AugMix, which two CPU cores can handle.

    python -m experiments.train --config=configs/cifar10_small.py --workdir=runs/cifar10_small

configs/cifar10_table_small.py uses it for a grid of augmentations and label rules.
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
    config.calibration.exact = True  # as in its recorded runs
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with five seeds."""
    sweeps.sweep(add, name, seeds=range(5))
