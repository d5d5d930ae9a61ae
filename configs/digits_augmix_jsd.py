"""Trains the network of configs/digits.py with AugMix as published: three chains, JSD loss.

    python -m experiments.train --config=configs/digits_augmix_jsd.py \
        --workdir=runs/digits_augmix_jsd

The labels are one-hot. With AutoLabel's on all three views:

    python -m experiments.train --config=configs/digits_augmix_jsd.py \
        --workdir=runs/digits_augmix_jsd_autolabel \
        --config.labels.rule=autolabel --config.loss.jsd_labels=all
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_augmix_jsd"
    config.augment.chains = 3
    config.labels.rule = "one_hot"
    config.loss.jsd = 12.0
    return base.variant(config, arg)
