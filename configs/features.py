"""Trains an MLP on feature vectors: 64 grey levels of handwritten digits, with noise.

    python -m experiments.train --config=configs/features.py --workdir=runs/features
    python -m experiments.sweep --config=configs/features.py --workdir=runs/features_table \
        --corruptions

The sweep compares augmentations × label rules × five seeds. A table of one's own takes the place
of scikit-learn's with `--config.dataset=manifest --data_dir=FILE.csv`. The results are in
docs/features.md.
"""

from ml_collections import ConfigDict

from configs import base, sweeps

AUGMENTATIONS = ("gaussian_noise", "mixup")


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "features"
    config.dataset = "sklearn/digits"
    config.train_examples = 292
    config.calibration.fraction = 192 / 292
    config.epochs = 60
    config.batch_size = 25
    config.eval_batch_size = 250
    config.crop_pad = 0
    config.flip = False
    config.augment.name = "gaussian_noise"
    config.optimizer.learning_rate = 0.02
    config.optimizer.weight_decay = 0.0
    config.buckets.num = 3
    config.labels.alpha = 0.3
    config.checkpoint.every_epochs = 60
    config = base.variant(config, arg)
    config.model.name = "mlp"  # a tiny variant has a network for images
    config.model.width = 128
    config.batch_size = 25
    return config


def get_sweep(add, name: str = "short") -> None:
    """Adds the runs of a study of configs/sweeps.py with two augmentations and five seeds."""
    sweeps.across(add, name, range(5), AUGMENTATIONS)
