"""Trains a small CNN on log-mel spectrograms of sound files, with SpecAugment.

    python -m experiments.train --config=configs/audio.py --data_dir=fsdd.csv \
        --workdir=runs/audio
    python -m experiments.sweep --config=configs/audio.py --data_dir=fsdd.csv \
        --workdir=runs/audio_table --corruptions

The manifest has columns `path`, `label` and `split`. The settings are for spoken digits of 8,000
samples per second; docs/audio.md says how the manifest is made, and has the results.
`--config.model.name=crnn` trains the convolutional-recurrent network.
"""

from ml_collections import ConfigDict

from configs import base, sweeps

AUGMENTATIONS = ("spec_augment", "audio_noise")


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "audio"
    config.dataset = "manifest"
    config.data.kind = "audio"
    config.data.seconds = 0.64
    config.data.peak = True
    config.data.mel_bands = 32
    config.data.hop_ms = 10
    config.epochs = 30
    config.batch_size = 50
    config.eval_batch_size = 250
    config.crop_pad = 0
    config.flip = False
    config.augment.name = "spec_augment"
    config.model.name = "small_cnn"
    config.model.width = 16
    config.optimizer.learning_rate = 0.1
    config.buckets.num = 5
    config.labels.alpha = 0.3
    config.checkpoint.every_epochs = 30
    return base.variant(config, arg)


def get_sweep(add, name: str = "short") -> None:
    """Adds the runs of a study of configs/sweeps.py with two augmentations and three seeds."""
    sweeps.across(add, name, range(3), AUGMENTATIONS)
