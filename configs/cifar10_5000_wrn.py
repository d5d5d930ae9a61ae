"""The first 5,000 training images of CIFAR-10 and WRN-16-4: over-fitting on a GPU.

    python -m experiments.train --config=configs/cifar10_5000_wrn.py --workdir=runs/cifar10_5000_wrn

As configs/cifar10_5000.py with a network that can learn all 4,000 by heart.
Times and figures of the runs made with it: docs/results.md.
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
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
