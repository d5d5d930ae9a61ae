"""Trains as configs/cifar10n_5000.py, with weights of examples by the clean calibration images.

    python -m experiments.train --config=configs/cifar10n_reweight.py \
        --workdir=runs/cifar10n_reweight --config.data.train_labels=data/cifar10n.npz:worse_label

As each step has a batch of both, an epoch takes about three times as long.
"""

from ml_collections import ConfigDict

from configs import base, cifar10n_5000


def get_config(arg: str | None = None) -> ConfigDict:
    config = cifar10n_5000.get_config()
    config.name = "cifar10n_reweight"
    config.example_weights = "reweight"
    return base.variant(config, arg)
