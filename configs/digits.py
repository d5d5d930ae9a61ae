"""Compares augmentations × label rules × five seeds on scikit-learn's handwritten digits.

    python -m experiments.sweep --config=configs/digits.py --workdir=runs/digits \
        --corruptions --attacks=fgsm,pgd20 --processes=2

`make table-digits` runs it. An MLP on 100 training images over-fits, so that one-hot labels end
over-confident on the 192 calibration images. The results are in docs/results/digits.md.
"""

from ml_collections import ConfigDict

from configs import base, digits_augmix, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits_augmix.get_config()
    config.name = "digits"
    config.train_examples = 292
    config.calibration.fraction = 192 / 292
    config.epochs = 60
    config.batch_size = 25
    config.labels.alpha = 0.3
    config.checkpoint.every_epochs = 60
    return base.variant(config, arg)


def get_sweep(add, name: str = "table") -> None:
    """Adds the runs of 'table' or of a study of configs/sweeps.py."""
    sweeps.sweep(add, name, seeds=range(5))
