"""Trains an MLP on scikit-learn's handwritten digits with one chain of AugMix, as the quickstart.

    python -m experiments.train --config=configs/digits_augmix.py --workdir=runs/digits_augmix

It has 100 training images and many epochs, so that the network over-fits and one-hot labels end
over-confident on the 200 calibration images.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "digits_augmix"
    config.dataset = "digits"
    config.train_examples = 300
    config.calibration.fraction = 2 / 3
    config.model.name = "mlp"
    config.model.width = 256
    config.epochs = 150
    config.batch_size = 50
    config.crop_pad = 0
    config.flip = False
    config.optimizer.learning_rate = 0.02
    config.buckets.num = 3
    config.labels.alpha = 0.1
    config.checkpoint.every_epochs = 50
    config.calibration.exact = True  # as in its recorded runs
    return base.variant(config, arg)


def get_sweep(add, name: str = "rules") -> None:
    """Adds the runs of a study of configs/sweeps.py, with five seeds."""
    sweeps.sweep(add, name, seeds=range(5))
