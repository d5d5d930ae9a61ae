"""Trains an MLP on embeddings of images that a network has computed, with noise.

    python -m experiments.embed --config=configs/finetune.py --data_dir=PHOTOGRAPHS \
        --config.model.init_from=FILE.safetensors --out=embeddings.parquet
    python -m experiments.train --config=configs/embeddings.py --data_dir=embeddings.parquet \
        --workdir=runs/embeddings

docs/features.md has the results on CIFAR-10.
"""

from ml_collections import ConfigDict

from configs import features, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = features.get_config(arg)
    config.name = "embeddings" + config.name.removeprefix("features")
    config.dataset = "manifest"
    if not arg:
        config.train_examples = 0
    config.calibration.fraction = 0.4
    config.model.width = 256
    return config


def get_sweep(add, name: str = "short") -> None:
    """Adds the runs of a study of configs/sweeps.py with two augmentations and five seeds."""
    sweeps.across(add, name, range(5), features.AUGMENTATIONS)
