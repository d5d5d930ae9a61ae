"""Trains the network of configs/digits.py with margin-based label smoothing.

    python -m experiments.train --config=configs/digits_mbls.py \
        --workdir=runs/digits_mbls

The labels are one-hot.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_mbls"
    config.labels.rule = "one_hot"
    config.loss.name = "mbls"
    config.loss.margin = 6.0
    return base.variant(config, arg)
