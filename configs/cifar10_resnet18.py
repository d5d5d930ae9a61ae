"""CIFAR-10, AugMix with one chain, ResNet-18, 20 epochs: about a minute on one H100.

    python -m experiments.train --config=configs/cifar10_resnet18.py --workdir=runs/cifar10_resnet18

Times and figures of the runs made with it: docs/results.md.
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
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
