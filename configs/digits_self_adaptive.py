"""Trains the network of configs/digits.py with labels that follow the predictions of each example.

    python -m experiments.train --config=configs/digits_self_adaptive.py \
        --workdir=runs/digits_self_adaptive

The labels are one-hot in the first 20 of 60 epochs.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_self_adaptive"
    config.labels.rule = "self_adaptive"
    config.labels.start_epoch = 20
    return base.variant(config, arg)
