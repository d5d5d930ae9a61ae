"""Trains the network of configs/digits.py with normalised logits in the loss.

    python -m experiments.train --config=configs/digits_logit_norm.py \
        --workdir=runs/digits_logit_norm

The labels are one-hot. At the default temperature of 0.04 this small network does not train.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_logit_norm"
    config.labels.rule = "one_hot"
    config.loss.name = "logit_norm"
    config.loss.temperature = 0.3
    return base.variant(config, arg)
