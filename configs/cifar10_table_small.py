"""Compares augmentations × label rules × three seeds with a small CNN on CIFAR-10, on a CPU.

    python -m experiments.sweep --config=configs/cifar10_table_small.py \
        --workdir=runs/cifar10_table_small --corruptions --examples=1000 --processes=2

`make table-cifar10` runs this and adversarial training with three PGD steps, which alone is
attacked. Runs take five epochs. The grid for a GPU with a larger network is
configs/cifar10_table.py. Times and results of its runs are in docs/results/cifar10.md.
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
    """Adds the runs of 'table' or of a study of configs/sweeps.py."""
    sweeps.sweep(add, name, seeds=range(3), augmentations=sweeps.AUGMENTATIONS[:-1])
