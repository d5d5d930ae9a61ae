"""Trains a small network on texts, with words masked: sentences of film reviews, or a table.

    python -m experiments.train --config=configs/text.py --data_dir=reviews.csv --workdir=runs/text
    python -m experiments.sweep --config=configs/text.py --data_dir=reviews.csv \
        --workdir=runs/text_table --corruptions

The table has the columns text and label, and if you wish split. The sweep compares two
augmentations × three label rules × three seeds. For the results in docs/text.md, the table holds
SST-2 (Socher et al., 2013): 6,920 training and 1,821 test sentences of two classes.
"""

from ml_collections import ConfigDict

from configs import base, sweeps


def get_config(arg: str | None = None) -> ConfigDict:
    config = base.base()
    config.name = "text"
    config.dataset = "manifest"
    config.data.kind = "text"
    config.epochs = 12
    config.batch_size = 64
    config.eval_batch_size = 500
    config.crop_pad = 0
    config.flip = False
    config.calibration.fraction = 0.15
    config.augment.name = "word_masking"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 0.002
    config.optimizer.weight_decay = 0.0
    config.buckets.num = 3
    config.labels.alpha = 0.3
    config.checkpoint.every_epochs = 12
    config = base.variant(config, arg)
    config.model.name = "text_mean"  # a tiny variant has a network for images
    config.model.width = 128
    return config


def get_sweep(add, name: str = "short") -> None:
    """Adds the runs of a study of configs/sweeps.py with two augmentations and three seeds."""
    sweeps.across(add, name, range(3), ("word_masking", "mixup"))
