"""Compares augmentations × label rules × three seeds with ResNet-18 on CIFAR-10, for ten epochs.

    python -m experiments.sweep --config=configs/cifar10_table.py --workdir=runs/cifar10_table \
        --corruptions --examples=2000 --processes=5

It needs a GPU, which several runs share; --max_minutes=9 runs it in pieces of ten minutes. Times
and results of its runs are in docs/results/cifar10.md. Adversarial training takes eleven times as
long and is in configs/cifar10_adversarial_small.py.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_resnet18, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_resnet18.get_config()
    config.name = "cifar10_table"
    config.epochs = 10
    return base.variant(config, arg)


def get_sweep(add, name: str = "table") -> None:
    """Adds the runs of 'table' or of a study of configs/sweeps.py."""
    sweeps.sweep(add, name, seeds=range(3), augmentations=sweeps.AUGMENTATIONS[:-1])
