"""The first 5,000 training images of CIFAR-100 and a small CNN: AugMix, the label rules, on a CPU.

    python -m experiments.sweep --config=configs/cifar100_5000.py --workdir=runs/cifar100_5000 \
        --corruptions --examples=1000 --processes=2

As configs/cifar10_5000.py, for half as long and with 250 held-out images for each update. Times
and figures of the runs made with it: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_5000, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10_5000.get_config()
    config.name = "cifar100_5000"
    config.dataset = "cifar100"
    config.epochs = 30
    config.calibration.images_per_update = 250
    config.checkpoint.every_epochs = 10
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """The runs of ``python -m experiments.sweep``: studies of configs/sweeps.py, three seeds."""
    sweeps.sweep(add, name, seeds=range(3))
