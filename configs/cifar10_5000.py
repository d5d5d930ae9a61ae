"""Trains a small CNN on 5,000 images of CIFAR-10, 1,000 of them for calibration, to over-fit.

    python -m experiments.train --config=configs/cifar10_5000.py --workdir=runs/cifar10_5000

Times and results of its runs are in docs/results/cifar10.md.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "cifar10_5000"
    config.train_examples = 5000
    config.calibration.fraction = 0.2
    config.model.name = "small_cnn"
    config.model.width = 32
    config.epochs = 60
    config.batch_size = 64
    config.crop_pad = 0
    config.optimizer.weight_decay = 0.0
    config.buckets.num = 3
    config.calibration.exact = True  # as in its recorded runs
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with five seeds."""
    sweeps.sweep(add, name, seeds=range(5))
