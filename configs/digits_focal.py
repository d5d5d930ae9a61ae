"""Trains the network of configs/digits.py with the focal loss.

    python -m experiments.train --config=configs/digits_focal.py \
        --workdir=runs/digits_focal

The labels are one-hot, and γ follows the schedule FLSD-53.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_focal"
    config.labels.rule = "one_hot"
    config.loss.name = "focal"
    config.loss.schedule = "flsd53"
    return base.variant(config, arg)
