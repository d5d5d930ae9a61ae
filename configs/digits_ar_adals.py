"""Trains the network of configs/digits.py as AR-AdaLS, on data that a first run has ranked.

    python -m experiments.train --config=configs/digits.py --workdir=runs/first \
        --config.augment.name=none --config.labels.rule=one_hot
    python -m experiments.attackability --workdir=runs/first --out=data/attackability
    python -m experiments.train --config=configs/digits_ar_adals.py --workdir=runs/digits_ar_adals \
        --data_dir=data/attackability

The distance of an image is its rank by the smallest perturbation that changes the prediction of the
first run, in ten groups of equal size; the rest is AutoLabel with the signed gap as its step.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_ar_adals"
    config.dataset = "arrays"
    config.train_examples = 0
    config.augment.name = "given"
    config.buckets.num = 10
    config.labels.rule = "autolabel"
    config.labels.step = "signed_gap"
    return base.variant(config, arg)
