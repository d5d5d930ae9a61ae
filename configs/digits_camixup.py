"""Trains the network of configs/digits.py with mixup of the classes that are over-confident.

python -m experiments.train --config=configs/digits_camixup.py --workdir=runs/digits_camixup

The first epoch mixes no example, as no class was measured before it.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_camixup"
    config.augment.name = "mixup"
    config.labels.rule = "camixup"
    return base.variant(config, arg)
