"""Trains a one-dimensional CNN on time series of a manifest, with masks in time.

    python -m experiments.train --config=configs/series.py --data_dir=series.parquet \
        --workdir=runs/series
    python -m experiments.sweep --config=configs/series.py --data_dir=series.parquet \
        --workdir=runs/series_table --corruptions

Column `input` holds a list of time steps for each row, and each step a list of channels. The
results on energy and zero crossings of spoken digits are in docs/features.md.
"""

from ml_collections import ConfigDict

from configs import features, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = features.get_config(arg)
    config.name = "series" + config.name.removeprefix("features")
    config.dataset = "manifest"
    config.data.kind = "series"
    config.model.name = "cnn1d"
    config.model.width = 32
    config.augment.name = "feature_masking"
    config.optimizer.learning_rate = 0.05
    config.train_examples = 1000
    config.calibration.fraction = 0.5
    return config


def get_sweep(add, name: str = "short") -> None:
    """Adds the runs of a study of configs/sweeps.py with two augmentations and five seeds."""
    sweeps.across(add, name, range(5), ("feature_masking", "mixup"))
