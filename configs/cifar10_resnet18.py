"""Trains ResNet-18 on CIFAR-10 with one chain of AugMix for 20 epochs, about a minute on one H100.

    python -m experiments.train --config=configs/cifar10_resnet18.py --workdir=runs/cifar10_resnet18

Times and results of its runs are in docs/results/cifar10.md.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_resnet18"
    config.model.name = "resnet18"
    config.dtype = "bfloat16"
    config.epochs = 20
    config.batch_size = 256
    config.optimizer.learning_rate = 0.2
    config.buckets.num = 3
    config.checkpoint.every_epochs = 10
    config.calibration.exact = True  # as in its recorded runs
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
