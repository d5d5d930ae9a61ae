"""Trains the network of configs/digits.py on four copies an example, weighted by their losses.

    python -m experiments.train --config=configs/digits_mmel.py \
        --workdir=runs/digits_mmel

The labels are one-hot.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_mmel"
    config.labels.rule = "one_hot"
    config.loss.copies = 4
    return base.variant(config, arg)
