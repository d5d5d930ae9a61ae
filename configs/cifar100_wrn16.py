"""Compares label rules with WRN-16-4 on CIFAR-100, one chain of AugMix, 20 epochs, three seeds.

    python -m experiments.sweep --config=configs/cifar100_wrn16.py --workdir=runs/cifar100_wrn16 \
        --corruptions --examples=2000 --processes=5

It needs a GPU, which several runs share, and has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar100_wrn16"
    config.dataset = "cifar100"
    config.model.depth = 16
    config.model.width = 4
    config.dtype = "bfloat16"
    config.epochs = 20
    config.batch_size = 256
    config.optimizer.learning_rate = 0.2
    config.buckets.num = 3
    config.checkpoint.every_epochs = 20
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
