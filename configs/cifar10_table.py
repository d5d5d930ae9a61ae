"""CIFAR-10, ResNet-18, ten epochs: augmentations × label rules × three seeds.

    python -m experiments.sweep --config=configs/cifar10_table.py --workdir=runs/cifar10_table \
        --corruptions --examples=2000 --processes=5

For a GPU, which several runs share; with --max_minutes=9 in pieces of ten minutes. Times and
figures of the runs made with it: docs/results.md. Adversarial training, eleven times as long, has
configs/cifar10_adversarial_small.py.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_resnet18, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_resnet18.get_config()
    config.name = "cifar10_table"
    config.epochs = 10
    return base.variant(config, arg)


def get_sweep(add, name: str = "table") -> None:
    """The runs of ``python -m experiments.sweep``: 'table' or a study of configs/sweeps.py."""
    sweeps.sweep(add, name, seeds=range(3), augmentations=sweeps.AUGMENTATIONS[:-1])
