"""CIFAR-10, a small CNN, five epochs on two CPU cores: augmentations × label rules × three seeds.

    python -m experiments.sweep --config=configs/cifar10_table_small.py \
        --workdir=runs/cifar10_table_small --corruptions --examples=1000 --processes=2

That and, as its rows alone are attacked, adversarial training with three PGD steps are
`make table-cifar10`. The grid of a GPU with a larger network: configs/cifar10_table.py. Times
and figures of the runs made with it: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_small, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_small.get_config()
    config.name = "cifar10_table_small"
    config.epochs = 5
    config.augment.num_steps = 3
    config.calibration.images_per_update = 1000
    config.checkpoint.every_epochs = 5
    return base.variant(config, arg)


def get_sweep(add, name: str = "table") -> None:
    """The runs of ``python -m experiments.sweep``: 'table' or a study of configs/sweeps.py."""
    sweeps.sweep(add, name, seeds=range(3), augmentations=sweeps.AUGMENTATIONS[:-1])
